/** `magnet research study`: the paper's case studies (6 to 8) with public data. */
import { type Group, lazy } from "../frame/command.ts";

export const study: Group = {
  kind: "group",
  meta: { description: "the paper's case studies on public data: zevor, stockclaw, genkidama" },
  subCommands: {
    zevor: lazy(
      "a model beside a rule pipeline, with contexts (paper 6)",
      async () => (await import("./study-zevor.ts")).zevor,
    ),
    genkidama: lazy(
      "ten phases of a BitNet language model (paper 8)",
      async () => (await import("./study-genkidama.ts")).genkidama,
    ),
    stockclaw: lazy(
      "directions of price histories, with controls (paper 7)",
      async () => (await import("./study-stockclaw.ts")).stockclaw,
    ),
  },
};
