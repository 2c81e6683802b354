/** Completion scripts: the bash one is sourced and asked, as a shell would. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
let script: string;
beforeAll(async () => {
  home = makeHome();
  script = path.join(home, "magnet.bash");
  fs.writeFileSync(script, (await magnet(MAIN, home, ["completion", "bash"])).stdout);
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

/** What Tab offers after these words (the last one is being typed). */
function offered(...words: string[]): string[] {
  const array = ["magnet", ...words].map((word) => `'${word}'`).join(" ");
  const ask = `source ${script}; COMP_WORDS=(${array}); COMP_CWORD=${words.length}; _magnet`;
  const done = Bun.spawnSync(["bash", "-c", `${ask}; printf '%s\\n' "\${COMPREPLY[@]}"`], {
    cwd: home,
  });
  expect(done.stderr.toString()).toBe("");
  return done.stdout.toString().split("\n").filter(Boolean);
}

describe("bash", () => {
  test("commands, subcommands and flags", () => {
    expect(offered("vers")).toEqual(["version"]);
    expect(offered("config", "s")).toEqual(["show", "set"]);
    expect(offered("--json", "config", "g")).toEqual(["get"]);
    expect(offered("config", "show", "--o")).toEqual(["--origin"]);
    expect(offered("")).toContain("doctor");
  });

  test("files after a flag that takes a path", () => {
    expect(offered("doctor", "--config", "magnet.b")).toEqual(["magnet.bash"]);
  });
});

test("zsh and fish scripts name every command; an unknown shell is a usage error", async () => {
  const zsh = (await magnet(MAIN, home, ["completion", "zsh"])).stdout;
  expect(zsh).toContain("bashcompinit");
  const fish = oneDocument(await magnet(MAIN, home, ["completion", "fish", "--json"]));
  expect(fish).toMatchObject({ schema: "magnet.completion/1", shell: "fish" });
  for (const name of ["doctor", "version", "config"])
    expect(fish.script as string).toContain(`-a ${name} `);
  expect((await magnet(MAIN, home, ["completion", "csh"])).code).toBe(2);
});
