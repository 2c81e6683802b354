/**
 * Opens wss connections with trust on first use (paper 12): an unknown peer's certificate is
 * fetched by a raw TLS handshake, a known one's is the pin; either way the WebSocket trusts exactly
 * that certificate, and the handshake above then proves that the wallet stands behind it.
 */
import tls from "node:tls";
import WebSocket from "ws";
import { MagnetError } from "../core/errors.ts";
import type { Hash } from "../core/types.ts";
import { fingerprintOf, pemOf } from "./certificate.ts";
import { type ByteCounter, Wire } from "./wire.ts";

/** Path of the peer protocol; anything else is answered 404. */
export const PEER_PATH = "/magnet/1";

/** The certificate that a server showed. */
export interface SeenCertificate {
  cert_pem: string;
  fingerprint: Hash;
}

const unreachable = (address: string, reason: string) =>
  new MagnetError("PEER_UNREACHABLE", `${address}: ${reason}`, {
    hint: "check the address, that the node runs, and that no firewall is in between",
    retryable: true,
    exit: "unreachable",
  });

/** Splits "host:port" or "[v6]:port". Throws BAD_ADDRESS. */
export function parseAddress(address: string): { host: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^\s:/@[\]]+):(\d{1,5})$/.exec(address);
  const port = Number(match?.[2]);
  if (!match || address.length > 256 || port < 1 || port > 65_535)
    throw new MagnetError("BAD_ADDRESS", `${JSON.stringify(address)} is no host:port`, {
      hint: "for example 192.0.2.7:7700 or [2001:db8::7]:7700",
    });
  return { host: match[1]!.replace(/^\[|\]$/g, ""), port };
}

/** Fetches the certificate by a TLS handshake that trusts nothing and sends nothing. */
export function fetchCertificate(address: string, timeout_ms: number): Promise<SeenCertificate> {
  const { host, port } = parseAddress(address);
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host, port, rejectUnauthorized: false }, () => {
      const { raw } = socket.getPeerCertificate(true);
      finish();
      if (raw === undefined) reject(unreachable(address, "showed no certificate"));
      else resolve({ cert_pem: pemOf(raw), fingerprint: fingerprintOf(raw) });
    });
    const timer = setTimeout(() => fail("no TLS answer in time"), timeout_ms);
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
    };
    const fail = (reason: string) => {
      finish();
      reject(unreachable(address, reason));
    };
    socket.on("error", (error) => fail(error.message || "refused"));
    socket.on("close", () => fail("closed before the TLS handshake"));
  });
}

/**
 * Opens the WebSocket trusting exactly `cert_pem`. The name in the certificate is the node's id,
 * not its host, so the host name check is off; the pinned certificate is what is trusted.
 */
export function openSocket(
  address: string,
  cert_pem: string,
  timeout_ms: number,
  total: ByteCounter,
): Promise<Wire> {
  const { host } = parseAddress(address);
  return new Promise((resolve, reject) => {
    // Never with rejectUnauthorized: false, which would skip the check of the pin altogether.
    const socket = new WebSocket(`wss://${address}${PEER_PATH}`, {
      ca: cert_pem,
      checkServerIdentity: () => false, // no error, in the form that ws declares
      perMessageDeflate: false,
    });
    socket.binaryType = "nodebuffer";
    let wire: Wire | undefined;
    const fail = (reason: string) => {
      clearTimeout(timer);
      if (wire) wire.gone(reason);
      else reject(unreachable(address, reason));
    };
    const timer = setTimeout(() => {
      fail("no WebSocket answer in time");
      socket.terminate();
    }, timeout_ms);
    socket.on("open", () => {
      clearTimeout(timer);
      wire = new Wire(clientSocket(socket), host, true, total);
      resolve(wire);
    });
    socket.on("message", (data, is_binary) =>
      wire?.received(is_binary ? (data as Buffer) : data.toString()),
    );
    socket.on("error", (error) => fail(error.message || "connection failed"));
    socket.on("close", (code) => fail(`closed (${code})`));
  });
}

const clientSocket = (socket: WebSocket) => ({
  send(bytes: Uint8Array) {
    if (socket.readyState !== WebSocket.OPEN) return false;
    socket.send(bytes);
    return true;
  },
  buffered_bytes: () => socket.bufferedAmount,
  close: (code: number, reason: string) => socket.close(code, reason),
  terminate: () => socket.terminate(),
});
