/** The demo's text: embedded public-domain documents, or the user's own with --data. */
import embeddedText from "../../../build/demo-text.json.gz" with { type: "file" };

export interface Document {
  name: string;
  bytes: Uint8Array;
}

/** Moby Dick by chapter and the State of the Union addresses, 12 MB of English. */
export async function embeddedCorpus(): Promise<Document[]> {
  const packed = new Uint8Array(await Bun.file(embeddedText).arrayBuffer());
  const documents = JSON.parse(new TextDecoder().decode(Bun.gunzipSync(packed))) as {
    name: string;
    text: string;
  }[];
  const encoder = new TextEncoder();
  return documents.map(({ name, text }) => ({ name, bytes: encoder.encode(text) }));
}
