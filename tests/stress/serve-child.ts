/** The server under load: prints its URL, and ends with its stdin. */
import { roomLog } from "../../src/core/log.ts";
import { writeToDescriptor } from "../../src/core/stdio.ts";
import { serve, smallModel } from "../http/serve-fixture.ts";

// A log that nobody started writes nothing; one that is kept would look like a leak.
const server = await serve([await smallModel()], { log: roomLog("http") });
writeToDescriptor(1, `${server.url}\n`);
for await (const _ of process.stdin);
await server.close();
