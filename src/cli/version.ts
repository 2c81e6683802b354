/**
 * `magnet version`: what this executable is. Loads neither the native library nor the
 * configuration.
 */
import packageJson from "../../package.json" with { type: "json" };
import { defineCommand } from "./frame/command.ts";

export const version = defineCommand({
  summary: "Shows the version, the platform and the runtime",
  examples: [
    { command: "magnet version", does: "one line for people" },
    { command: "magnet version --json", does: "the same for scripts" },
  ],
  args: {},
  flags: {},
  async run({ out }) {
    const data = {
      version: packageJson.version,
      platform: `${process.platform}-${process.arch}`,
      bun: Bun.version,
      compiled: import.meta.url.includes("/$bunfs/"),
    };
    out.result("version", data, `magnet ${data.version} (${data.platform}, bun ${data.bun})`);
  },
});
