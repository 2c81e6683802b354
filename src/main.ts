/**
 * Entry point of the executable: runs the CLI and maps its outcome to an exit code. Output is
 * written synchronously, so ending the process loses nothing; it is ended because a library may
 * hold a handle.
 */
import { COMMANDS } from "./cli/commands.ts";
import { runCli } from "./cli/frame/run-cli.ts";

const code = await runCli(COMMANDS, process.argv.slice(2), {
  env: process.env,
  stdout_terminal: process.stdout.isTTY === true,
  stderr_terminal: process.stderr.isTTY === true,
});
process.exit(code);
