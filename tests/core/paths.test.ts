/** XDG folders, and what happens without a HOME. */
import { expect, test } from "bun:test";
import { standardPaths } from "../../src/core/paths.ts";

test("defaults below HOME", () => {
  expect(standardPaths({ HOME: "/home/ada" })).toEqual({
    config_file: "/home/ada/.config/magnet/config.toml",
    data_dir: "/home/ada/.local/share/magnet",
    cache_dir: "/home/ada/.cache/magnet",
    note: undefined,
  });
});

test("XDG variables win; relative ones are ignored, as the standard says", () => {
  const paths = standardPaths({
    HOME: "/home/ada",
    XDG_CONFIG_HOME: "/etc/x",
    XDG_DATA_HOME: "data",
    XDG_CACHE_HOME: "",
  });
  expect(paths.config_file).toBe("/etc/x/magnet/config.toml");
  expect(paths.data_dir).toBe("/home/ada/.local/share/magnet");
  expect(paths.cache_dir).toBe("/home/ada/.cache/magnet");
});

test.each([undefined, "", "relative"])(
  "HOME %p falls back to an absolute folder and says so",
  (home) => {
    const paths = standardPaths({ HOME: home });
    expect(paths.data_dir).toStartWith("/");
    expect(paths.note).toContain("HOME is not set");
  },
);

test("no note where the XDG variables say it all", () => {
  const paths = standardPaths({ XDG_DATA_HOME: "/d", XDG_CONFIG_HOME: "/c" });
  expect(paths).toMatchObject({ data_dir: "/d/magnet", note: undefined });
});
