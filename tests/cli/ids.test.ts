/** Token ids as users write them: parted by commas or spaces, none left out. */
import { expect, test } from "bun:test";
import { parseIds } from "../../src/cli/ids.ts";

test("commas, spaces and both part ids", () => {
  for (const text of ["1,2,3", "1 2 3", " 1, 2 ,3\n"])
    expect([...parseIds(text, 10)]).toEqual([1, 2, 3]);
});

test.each(["", "  ", "1,,2", "1,2,", "10", "-1", "1.5", "1e0", "x"])("%j is refused", (text) => {
  expect(() => parseIds(text, 10)).toThrow(expect.objectContaining({ code: "BAD_VALUE" }));
});
