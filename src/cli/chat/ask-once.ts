/** One question to a person at the terminal, outside of a conversation. */
import readline from "node:readline";

/** The line that was typed; "" where the input ended. */
export function askOnce(question: string): Promise<string> {
  const lines = readline.createInterface({ input: process.stdin, output: process.stderr });
  return new Promise((resolve) => {
    lines.on("close", () => resolve(""));
    lines.question(question, (line) => {
      resolve(line);
      lines.close();
    });
  });
}
