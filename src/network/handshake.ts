/**
 * Mutual authentication of a new connection: client hello, server welcome with a signature, client
 * proof. Both wallet signatures cover both hellos (keys, ephemeral keys, nonces, network, boot
 * nonce) and the fingerprint of the server's certificate as each side knows it, so a man in the
 * middle cannot join two connections. The session keys come from ephemeral X25519. State machines
 * without I/O.
 */
import {
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import { z } from "zod";
import { sha256, toHex } from "../core/bytes.ts";
import { TIERS, type Tier } from "../core/tiers.ts";
import type { Hash, PublicKey } from "../core/types.ts";
import { lengthPrefixed, recoverKey, walletVerifier } from "./auth.ts";
import { bindingHolds, type CertificateBinding, certificateBindingSchema } from "./certificate.ts";
import { decodeBody, encodeBody } from "./codec.ts";
import { Session } from "./envelope.ts";
import type { Identity } from "./identity.ts";
import { hashSchema, publicKeySchema, signatureSchema } from "./wire-types.ts";

/** Raised with every change of frames, handshake or rounds; peers with another one are refused. */
export const PROTOCOL_VERSION = 2;

const bytes32 = z.string().regex(/^[0-9a-f]{64}$/);
const greeting = {
  protocol: z.int().min(0).max(65_535),
  network_id: z.string().min(1).max(256),
  config_hash: hashSchema,
  public_key: publicKeySchema,
  ephemeral: bytes32,
  nonce: bytes32,
  /** Random per process start: the same key with another one is a second process. */
  boot_nonce: z.string().regex(/^[0-9a-f]{32}$/),
  address: z.string().min(1).max(256).nullable(),
  tier: z.enum(TIERS),
};
const greetingSchema = z.strictObject(greeting);
const coreSchema = z.strictObject({ ...greeting, certificate: certificateBindingSchema });
const refusedSchema = z.strictObject({
  step: z.literal("refused"),
  code: z.string().regex(/^[A-Z_]{1,40}$/),
  message: z.string().max(400),
});
const helloSchema = z.strictObject({ step: z.literal("hello"), core: z.instanceof(Uint8Array) });
const welcomeSchema = z.strictObject({
  step: z.literal("welcome"),
  core: z.instanceof(Uint8Array),
  signature: signatureSchema,
});
const proofSchema = z.strictObject({ step: z.literal("proof"), signature: signatureSchema });

type Greeting = z.infer<typeof greetingSchema>;
type Core = z.infer<typeof coreSchema>;

/** Why a handshake ended; sent to the other side where it can be. */
export interface HandshakeRefusal {
  code: string;
  message: string;
  /** Given once the session keys exist: the refusal is then sent as a sealed notice. */
  peer?: HandshakePeer;
}
/** What a finished handshake knows of the peer. */
export interface HandshakePeer {
  public_key: PublicKey;
  boot_nonce: string;
  address: string | null;
  tier: Tier;
  session: Session;
}

/** What a node says of itself. */
export interface HandshakeSelf {
  identity: Identity;
  network: { id: string; config_hash: Hash };
  boot_nonce: string;
  address: string | null;
  tier: Tier;
  certificate: CertificateBinding;
  random_bytes(length: number): Uint8Array;
}

/** Every handshake message is below this many bytes. */
const MESSAGE_MAX = 4096;
const refusal = (code: string, message: string): HandshakeRefusal => ({ code, message });
const NOT_THE_OWNER = "the peer does not hold the wallet key that it claims";
const MALFORMED = refusal("HANDSHAKE_MALFORMED", "the handshake message is malformed");

/** The message for the other side. */
export const encodeRefusal = ({ code, message }: HandshakeRefusal): Uint8Array =>
  encodeBody({ step: "refused", code, message: message.slice(0, 400) });

function decode<S extends z.ZodType>(schema: S, bytes: Uint8Array): z.infer<S> | undefined {
  const spec = { type: "handshake", schema, limit_bytes: MESSAGE_MAX, why: "fixed fields" };
  const decoded = decodeBody(spec, bytes);
  return decoded.ok ? (decoded.body as z.infer<S>) : undefined;
}

/** Fresh ephemeral key and greeting. */
function introduce(self: HandshakeSelf): { secret: KeyObject; own: Greeting } {
  const pair = generateKeyPairSync("x25519");
  const jwk = pair.publicKey.export({ format: "jwk" });
  const own: Greeting = {
    protocol: PROTOCOL_VERSION,
    network_id: self.network.id,
    config_hash: self.network.config_hash,
    public_key: self.identity.public_key,
    ephemeral: Buffer.from(jwk.x ?? "", "base64url").toString("hex"),
    nonce: toHex(self.random_bytes(32)),
    boot_nonce: self.boot_nonce,
    address: self.address,
    tier: self.tier,
  };
  return { secret: pair.privateKey, own };
}

/** Undefined if the two belong to one network. */
function mismatch(own: HandshakeSelf, peer: Greeting): HandshakeRefusal | undefined {
  if (peer.protocol !== PROTOCOL_VERSION)
    return refusal(
      "PROTOCOL_VERSION",
      `protocol ${peer.protocol} does not fit ${PROTOCOL_VERSION}: update the older magnet`,
    );
  if (peer.network_id !== own.network.id)
    return refusal("WRONG_NETWORK", `networks ${peer.network_id} and ${own.network.id} differ`);
  if (peer.config_hash !== own.network.config_hash)
    return refusal(
      "NETWORK_CONFIG",
      "the network configurations differ: join with the same network file",
    );
  if (peer.public_key === own.identity.public_key)
    return refusal("SAME_IDENTITY", "both ends have the same wallet key");
  return undefined;
}

/** Undefined where the peer's ephemeral key is no proper point. */
function deriveKeys(secret: KeyObject, ephemeral: string, salt: Uint8Array) {
  try {
    const x = Buffer.from(ephemeral, "hex").toString("base64url");
    const publicKey = createPublicKey({ key: { kty: "OKP", crv: "X25519", x }, format: "jwk" });
    const shared = diffieHellman({ privateKey: secret, publicKey });
    if (shared.every((byte) => byte === 0)) return undefined;
    const keys = new Uint8Array(hkdfSync("sha256", shared, salt, "magnet session/1", 64));
    return { client: keys.subarray(0, 32), server: keys.subarray(32) };
  } catch {
    return undefined; // a low-order point: refused like any malformed message
  }
}

const digestOf = (role: string, ...parts: (string | Uint8Array)[]) =>
  sha256(lengthPrefixed("magnet handshake/1", role, ...parts));

const peerOf = (core: Greeting, session: Session): HandshakePeer => ({
  public_key: core.public_key,
  boot_nonce: core.boot_nonce,
  address: core.address,
  tier: core.tier,
  session,
});

/** What the client found out about the server. */
export interface ClientResult extends HandshakePeer {
  proof: Uint8Array;
  certificate: CertificateBinding;
}

/**
 * The dialling side. `seen`: fingerprint of the certificate that the TLS connection was made with.
 */
export class ClientHandshake {
  readonly hello: Uint8Array;
  readonly #self: HandshakeSelf;
  readonly #seen: Hash;
  readonly #core: Uint8Array;
  readonly #secret: KeyObject;

  constructor(self: HandshakeSelf, seen: Hash) {
    const { secret, own } = introduce(self);
    this.#self = self;
    this.#seen = seen;
    this.#secret = secret;
    this.#core = encodeBody(own);
    this.hello = encodeBody({ step: "hello", core: this.#core });
  }

  /** Takes the server's welcome; the caller then checks key and pin, and sends `proof`. */
  receive(bytes: Uint8Array): ClientResult | HandshakeRefusal {
    const refused = decode(refusedSchema, bytes);
    if (refused) return refusal(refused.code, `the peer refused: ${refused.message}`);
    const welcome = decode(welcomeSchema, bytes);
    const core: Core | undefined = welcome && decode(coreSchema, welcome.core);
    if (!welcome || !core) return MALFORMED;
    const wrong = mismatch(this.#self, core);
    if (wrong) return wrong;
    const { certificate, public_key } = core;
    const transcript = digestOf("server", this.#core, welcome.core, this.#seen);
    if (recoverKey(transcript, welcome.signature) !== public_key)
      return refusal("PEER_IDENTITY", NOT_THE_OWNER);
    if (certificate.fingerprint !== this.#seen)
      return refusal("CERTIFICATE_MISMATCH", "someone in between terminates the TLS connection");
    if (!bindingHolds(certificate, public_key, walletVerifier))
      return refusal("CERTIFICATE_MISMATCH", "the certificate is not signed by the peer's wallet");
    const keys = deriveKeys(this.#secret, core.ephemeral, transcript);
    if (!keys) return MALFORMED;
    const signature = this.#self.identity.sign(digestOf("client", transcript, welcome.signature));
    const session = new Session({ send: keys.client, receive: keys.server });
    const proof = encodeBody({ step: "proof", signature });
    return { ...peerOf(core, session), proof, certificate };
  }
}

/** The accepting side: `hello` gives a reply, then `proof` the peer. */
export class ServerHandshake {
  readonly #self: HandshakeSelf;
  #waiting: { peer: HandshakePeer; digest: Uint8Array } | undefined;

  constructor(self: HandshakeSelf) {
    this.#self = self;
  }

  /** Takes the next message of the client. */
  receive(bytes: Uint8Array): { reply: Uint8Array } | HandshakePeer | HandshakeRefusal {
    return this.#waiting ? this.#finish(bytes, this.#waiting) : this.#welcome(bytes);
  }

  #welcome(bytes: Uint8Array): { reply: Uint8Array } | HandshakeRefusal {
    const hello = decode(helloSchema, bytes);
    const client = hello && decode(greetingSchema, hello.core);
    if (!hello || !client) return MALFORMED;
    const wrong = mismatch(this.#self, client);
    if (wrong) return wrong;
    const { secret, own } = introduce(this.#self);
    const { certificate } = this.#self;
    const core = encodeBody({ ...own, certificate });
    const transcript = digestOf("server", hello.core, core, certificate.fingerprint);
    const keys = deriveKeys(secret, client.ephemeral, transcript);
    if (!keys) return MALFORMED;
    const signature = this.#self.identity.sign(transcript);
    const session = new Session({ send: keys.server, receive: keys.client });
    const digest = digestOf("client", transcript, signature);
    this.#waiting = { peer: peerOf(client, session), digest };
    return { reply: encodeBody({ step: "welcome", core, signature }) };
  }

  #finish(
    bytes: Uint8Array,
    waiting: { peer: HandshakePeer; digest: Uint8Array },
  ): HandshakePeer | HandshakeRefusal {
    const proof = decode(proofSchema, bytes);
    if (!proof) return { ...MALFORMED, peer: waiting.peer };
    if (recoverKey(waiting.digest, proof.signature) !== waiting.peer.public_key)
      return { ...refusal("PEER_IDENTITY", NOT_THE_OWNER), peer: waiting.peer };
    return waiting.peer;
  }
}

/** Names this process start: 128 random bits. */
export const bootNonce = (random_bytes: (length: number) => Uint8Array): string =>
  toHex(random_bytes(16));
