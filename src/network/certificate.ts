/**
 * The node's TLS certificate (paper 12): self-signed P-256, made here in DER, and bound to the
 * wallet by a signature over its SHA-256 and a serial. Who knows the wallet key notices a man in
 * the middle even on first contact; of two bound certificates the one with the higher serial is the
 * current one.
 */
import { generateKeyPairSync, sign, X509Certificate } from "node:crypto";
import path from "node:path";
import { z } from "zod";
import { sha256, sha256Hex } from "../core/bytes.ts";
import type { Clock } from "../core/clock.ts";
import { MagnetError } from "../core/errors.ts";
import type { Random } from "../core/random.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { lengthPrefixed } from "./auth.ts";
import type { Identity } from "./identity.ts";
import { readPrivateFile, writePrivateFile } from "./private-file.ts";
import type { Signer, Verifier } from "./signer.ts";
import { hashSchema, signatureSchema } from "./wire-types.ts";

/** What the wallet says about a certificate. */
export const certificateBindingSchema = z.strictObject({
  /** SHA-256 of the DER bytes. */
  fingerprint: hashSchema,
  /** Milliseconds since 1970 at creation: later certificates have higher serials. */
  serial: z.int().min(0).max(9e15),
  signature: signatureSchema,
});
export type CertificateBinding = z.infer<typeof certificateBindingSchema>;

/** A certificate with its private key and the wallet's word for it. */
export interface NodeCertificate {
  cert_pem: string;
  key_pem: string;
  binding: CertificateBinding;
}

const bindingDigest = (fingerprint: Hash, serial: number) =>
  sha256(lengthPrefixed("magnet certificate/1", fingerprint, String(serial)));

/** Binds a certificate (of this node or of a CA) to the wallet. */
export function bindCertificate(signer: Signer, cert_pem: string, serial: number) {
  const fingerprint = fingerprintOf(new X509Certificate(cert_pem).raw);
  return { fingerprint, serial, signature: signer.sign(bindingDigest(fingerprint, serial)) };
}

/** True if the wallet `publicKey` signed this fingerprint and serial. */
export const bindingHolds = (
  binding: CertificateBinding,
  publicKey: PublicKey,
  verifier: Verifier,
): boolean =>
  verifier.verify(bindingDigest(binding.fingerprint, binding.serial), binding.signature, publicKey);

/** SHA-256 of a certificate's DER bytes. */
export const fingerprintOf = (der: Uint8Array): Hash => sha256Hex(der) as Hash;

/** DER bytes as PEM. */
export const pemOf = (der: Uint8Array): string => {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
};

// DER: tag, length, value (X.690); the certificate follows RFC 5280.
const derLength = (n: number) =>
  n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, (n >> 8) & 255, n & 255];
function der(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag, ...derLength(body.length)]), body]);
}
const SEQUENCE = 0x30;
const oid = (hexBytes: string) => der(6, Buffer.from(hexBytes, "hex"));
const ECDSA_SHA256 = der(SEQUENCE, oid("2a8648ce3d040302"));
const COMMON_NAME = oid("550403");
const SUBJECT_ALT_NAME = oid("551d11");
const BASIC_CONSTRAINTS = oid("551d13");
const TRUE = Buffer.from("0101ff", "hex");

/** GeneralizedTime from 2050 on, UTCTime before (RFC 5280 4.1.2.5). */
function derTime(time_ms: number): Uint8Array {
  const date = new Date(time_ms);
  const digits = `${date.toISOString().replace(/[-:T]/g, "").slice(0, 14)}Z`;
  return date.getUTCFullYear() < 2050
    ? der(0x17, Buffer.from(digits.slice(2)))
    : der(0x18, Buffer.from(digits));
}

const DAY_MS = 86_400_000;
/** Ten years: trust rests on the wallet's signature, an expiry would only break idle nodes. */
const VALID_DAYS = 3650;

/** Makes a certificate named after the node, and binds it to the wallet. */
export function createCertificate(
  identity: Identity,
  random: Random,
  now_ms: number,
): NodeCertificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const spki = publicKey.export({ type: "spki", format: "der" });
  const commonName = der(SEQUENCE, COMMON_NAME, der(0x0c, Buffer.from(identity.node_id)));
  const name = der(SEQUENCE, der(0x31, commonName));
  const serial = random.bytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40; // positive and not padded
  const names = der(SEQUENCE, der(0x82, Buffer.from(identity.node_id)));
  const extensions = der(
    0xa3,
    der(
      SEQUENCE,
      der(SEQUENCE, SUBJECT_ALT_NAME, der(4, names)),
      der(SEQUENCE, BASIC_CONSTRAINTS, TRUE, der(4, der(SEQUENCE, TRUE))),
    ),
  );
  const validity = der(SEQUENCE, derTime(now_ms - DAY_MS), derTime(now_ms + VALID_DAYS * DAY_MS));
  const version3 = der(0xa0, der(2, Buffer.from([2])));
  const tbs = der(
    SEQUENCE,
    version3,
    der(2, serial),
    ECDSA_SHA256,
    name,
    validity,
    name,
    spki,
    extensions,
  );
  const signature = sign("sha256", tbs, privateKey);
  const cert_pem = pemOf(der(SEQUENCE, tbs, ECDSA_SHA256, der(3, Buffer.from([0]), signature)));
  const key_pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return { cert_pem, key_pem, binding: bindCertificate(identity, cert_pem, now_ms) };
}

const fileSchema = z.strictObject({
  schema: z.literal("magnet.certificate/1"),
  cert_pem: z.string().max(8192),
  key_pem: z.string().max(8192),
  binding: certificateBindingSchema,
});

/**
 * The certificate of <dir>/certificate.json; made anew on the first start, or for another wallet.
 */
export function openCertificate(
  dir: string,
  identity: Identity,
  verifier: Verifier,
  random: Random,
  clock: Clock,
): NodeCertificate {
  const file = path.join(dir, "certificate.json");
  const text = readPrivateFile(file);
  if (text !== undefined) {
    const stored = parseFile(text, file);
    if (bindingHolds(stored.binding, identity.public_key, verifier)) return stored;
  }
  const made = createCertificate(identity, random, clock.now_ms());
  const content = { schema: "magnet.certificate/1", ...made };
  writePrivateFile(file, `${JSON.stringify(content, undefined, 2)}\n`, true);
  return made;
}

function parseFile(text: string, file: string): NodeCertificate {
  try {
    const { cert_pem, key_pem, binding } = fileSchema.parse(JSON.parse(text));
    if (fingerprintOf(new X509Certificate(cert_pem).raw) === binding.fingerprint)
      return { cert_pem, key_pem, binding };
  } catch (error) {
    throw corruptCertificate(file, error);
  }
  throw corruptCertificate(file);
}

const corruptCertificate = (file: string, cause?: unknown) =>
  new MagnetError("CERTIFICATE_CORRUPT", `${file} holds no intact certificate`, {
    hint: "delete it: a new one is made, and peers accept it by the wallet's signature",
    exit: "auth",
    cause,
  });
