/** Server-sent events as they arrive: the data of each, in order, whatever the chunks cut. */
import { MagnetError } from "../core/errors.ts";

/** An event holds one piece of an answer; a server that sends more is not one of these. */
const EVENT_BYTES_MAX = 4 << 20;

const tooLong = () =>
  new MagnetError("BAD_STREAM", `an event of more than ${EVENT_BYTES_MAX} bytes came`, {
    hint: "the address is not that of a model server",
  });

/** Texts of the `data` fields; a comment or another field is passed over. */
export async function* eventData(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pending = "";
  let data: string[] = [];
  for await (const bytes of stream) {
    pending += decoder.decode(bytes, { stream: true });
    const lines = pending.split(/\r\n|\n|\r(?!$)/);
    pending = lines.pop()!;
    for (const line of lines) {
      if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      if (line !== "" || data.length === 0) continue;
      yield data.join("\n");
      data = [];
    }
    const held = data.reduce((sum, { length }) => sum + length, pending.length);
    if (held > EVENT_BYTES_MAX) throw tooLong();
  }
}
