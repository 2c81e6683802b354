/** Signed requests: bound to every field, fresh on both sides, accepted once. */
import { expect, test } from "bun:test";
import { seededRandom } from "../../src/core/random.ts";
import { walletVerifier } from "../../src/network/auth.ts";
import { identityOf } from "../../src/network/identity.ts";
import { RequestVerifier, signRequest } from "../../src/network/signed-request.ts";

const NOW = 1_800_000_000_000;
const alice = identityOf(seededRandom(1).bytes(32));
const body = new TextEncoder().encode('{"a":1}');
const fields = (overrides = {}) => ({
  network_id: "net",
  recipient: "bob",
  method: "POST /x",
  timestamp_ms: NOW,
  nonce: "00112233445566778899aabbccddeeff",
  ...overrides,
});
const expected = { network_id: "net", recipient: "bob", verifier: walletVerifier };
const started = NOW - 3_600_000;

test("accepted once, then refused as a replay", () => {
  const verifier = new RequestVerifier(started);
  const request = signRequest(alice, fields(), body);
  expect(verifier.check(request, body, expected, NOW)).toBeUndefined();
  expect(verifier.check(request, body, expected, NOW + 1000)).toBe("replayed");
});

test("freshness: 4:59 accepted, 5:01 refused, on both sides", () => {
  const at = (timestamp_ms: number) =>
    new RequestVerifier(started).check(
      signRequest(alice, fields({ timestamp_ms }), body),
      body,
      expected,
      NOW,
    );
  expect(at(NOW - 299_000)).toBeUndefined();
  expect(at(NOW - 301_000)).toBe("stale");
  expect(at(NOW + 299_000)).toBeUndefined();
  expect(at(NOW + 301_000)).toBe("from_the_future");
});

test("no replay to another node, network, method, time, nonce or with another body", () => {
  const verifier = new RequestVerifier(started);
  const request = signRequest(alice, fields(), body);
  const check = (changed: object, bytes = body, want = expected) =>
    verifier.check({ ...request, ...changed }, bytes, want, NOW);
  expect(check({}, body, { ...expected, recipient: "carol" })).toBe("wrong_recipient");
  expect(check({ recipient: "carol" }, body, { ...expected, recipient: "carol" })).toBe(
    "bad_signature",
  );
  expect(check({}, body, { ...expected, network_id: "other" })).toBe("wrong_network");
  expect(check({ method: "POST /y" })).toBe("bad_signature");
  expect(check({ timestamp_ms: NOW + 1 })).toBe("bad_signature");
  expect(check({ nonce: "ff".repeat(16) })).toBe("bad_signature");
  expect(check({ nonce: "short" })).toBe("bad_nonce");
  expect(check({}, new Uint8Array(3))).toBe("bad_signature");
  expect(check({ sender: identityOf(seededRandom(2).bytes(32)).public_key })).toBe("bad_signature");
  expect(check({ timestamp_ms: Number.NaN })).toBe("stale");
  expect(check({})).toBeUndefined();
});

test("restart, a clock set back, and a full cache do not reopen the window", () => {
  const request = signRequest(alice, fields(), body);
  expect(new RequestVerifier(NOW + 1).check(request, body, expected, NOW + 2)).toBe("before_start");
  const verifier = new RequestVerifier(started, 1);
  expect(verifier.check(request, body, expected, NOW)).toBeUndefined();
  const other = signRequest(alice, fields({ nonce: "aa".repeat(16) }), body);
  expect(verifier.check(other, body, expected, NOW)).toBe("cache_full");
  const later = NOW + 400_000;
  const fresh = signRequest(alice, fields({ timestamp_ms: later, nonce: "bb".repeat(16) }), body);
  expect(verifier.check(fresh, body, expected, later)).toBeUndefined();
  expect(verifier.check(request, body, expected, NOW)).toBe("stale");
});
