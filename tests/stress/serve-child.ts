/** The server under load: prints its URL, and ends with its stdin. */
import { writeToDescriptor } from "../../src/core/stdio.ts";
import { serve, smallModel } from "../http/serve-fixture.ts";

const server = await serve([await smallModel()]);
writeToDescriptor(1, `${server.url}\n`);
for await (const _ of process.stdin);
await server.close();
