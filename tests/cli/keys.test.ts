/**
 * `magnet keys` as a user runs it: backup and restore, signatures, and that secrets stay off the
 * line.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { errorDocument, MAIN, magnet, makeHome, oneDocument } from "./magnet.ts";

let home: string;
beforeAll(() => {
  home = makeHome();
});
afterAll(() => fs.rmSync(home, { recursive: true, force: true }));
const run = (args: string[], stdin = "") => magnet(MAIN, home, args, { stdin });
const inOther = (args: string[], stdin = "") =>
  magnet(MAIN, home, [...args, "--data-dir", path.join(home, "other")], { stdin });

test("create, show, export, import elsewhere: the same node", async () => {
  const missing = await run(["keys", "show", "--json"]);
  expect(missing.code).toBe(5);
  expect(errorDocument(missing).code).toBe("NO_KEY");

  const created = await run(["keys", "create", "--json"]);
  const { node_id, public_key, file } = oneDocument(created) as Record<string, string>;
  expect(node_id).toMatch(/^node-[0-9a-f]{16}$/);
  expect(public_key).toMatch(/^0[23][0-9a-f]{64}$/);
  expect(fs.statSync(file!).mode & 0o777).toBe(0o600);
  expect(created.stderr).toContain("magnet keys export");
  const again = await run(["keys", "create"]);
  expect(again.code).toBe(5);
  expect(again.stderr).toStartWith("FILE_EXISTS: ");

  const doctor = async () => (await run(["doctor"])).stdout.match(/^(ok|warn|fail) +key .*$/m)![0];
  expect(await doctor()).toStartWith("warn key");
  const backup = path.join(home, "node.key");
  const exported = await run(["keys", "export", "--out", backup, "--json"]);
  expect(oneDocument(exported)).toEqual({ schema: "magnet.keys_export/1", node_id, file: backup });
  const secret = fs.readFileSync(backup, "utf8").trim();
  expect(fs.statSync(backup).mode & 0o777).toBe(0o600);
  expect(exported.stdout + exported.stderr).not.toContain(secret);
  expect((await run(["keys", "export", "--out", backup])).stderr).toStartWith("FILE_EXISTS: ");
  expect(await doctor()).toStartWith("ok   key");

  const imported = oneDocument(await inOther(["keys", "import", backup, "--json"]));
  expect(imported).toMatchObject({ schema: "magnet.keys_import/1", node_id, public_key });
  const shown = oneDocument(await inOther(["keys", "show", "--json"]));
  expect(Object.keys(shown)).toEqual(["schema", "node_id", "public_key", "file", "exported"]);
  expect(shown).toMatchObject({ node_id, exported: false });
});

test("a key from standard input, and one that is none", async () => {
  const folder = ["--data-dir", path.join(home, "third")];
  const one = `${"0".repeat(63)}1`;
  const imported = await run(["keys", "import", "-", "--json", ...folder], one);
  // The generator point: SEC 2, secp256k1, compressed form of G.
  expect(oneDocument(imported).public_key).toBe(
    "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
  );
  for (const bad of ["", "zz", "0".repeat(64)]) {
    const refused = await magnet(
      MAIN,
      home,
      ["keys", "import", "-", "--data-dir", path.join(home, "x")],
      { stdin: bad },
    );
    expect(refused.code).toBe(5);
    expect(fs.existsSync(path.join(home, "x", "wallet.json"))).toBe(false);
  }
});

test("a key that others can read is refused, and the doctor says chmod", async () => {
  const file = path.join(home, ".local/share/magnet/wallet.json");
  fs.chmodSync(file, 0o644);
  const refused = await run(["keys", "show"]);
  expect(refused.code).toBe(5);
  expect(refused.stderr).toContain("chmod 600");
  const doctor = await run(["doctor"]);
  expect(doctor.code).toBe(1);
  expect(doctor.stdout).toMatch(/^fail key .*-> chmod 600 /m);
  fs.chmodSync(file, 0o600);
});

test("sign and verify", async () => {
  const signed = oneDocument(await run(["keys", "sign", "hello", "--json"]));
  expect(Object.keys(signed)).toEqual(["schema", "node_id", "public_key", "signature"]);
  const { public_key, node_id } = signed as Record<string, string>;
  const signature = signed.signature as string;
  const verify = (text: string, ...more: string[]) =>
    run(["keys", "verify", text, "--signature", signature, ...more]);
  const good = await verify("hello", "--key", public_key!, "--json");
  expect(oneDocument(good)).toEqual({
    schema: "magnet.keys_verify/1",
    ok: true,
    node_id,
    public_key,
  });
  const otherText = await verify("hallo", "--key", public_key!, "--json");
  expect(otherText.code).toBe(6);
  expect(errorDocument(otherText).code).toBe("BAD_SIGNATURE");
  expect((await run(["keys", "verify", "hello", "--signature", "00"])).code).toBe(6);
  expect((await run(["keys", "sign"])).code).toBe(2);
});
