/** Where the embedded chain lies: a part of the data folder. */
import path from "node:path";
import type { Context } from "../frame/command.ts";

export async function chainFolder(context: Context): Promise<string> {
  const { values } = await context.config();
  return path.join(values.node.data_dir, "chain");
}
