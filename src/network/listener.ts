/**
 * The wss server: TLS with the node's certificate, one path, and the limits that hold before a peer
 * is known (connections in all, unfinished handshakes in all and per host).
 */
import type { Server, ServerWebSocket } from "bun";
import { MagnetError, toMagnetError } from "../core/errors.ts";
import type { NodeCertificate } from "./certificate.ts";
import { PEER_PATH } from "./dialer.ts";
import { type ByteCounter, Wire } from "./wire.ts";

interface SocketData {
  host: string;
  wire: Wire | undefined;
}

export interface ListenerOptions {
  listen: { host: string; port: number };
  certificate: NodeCertificate;
  /** Longest WebSocket message; a longer one closes the connection before it is buffered. */
  message_bytes: number;
  outgoing_bytes: number;
  total: ByteCounter;
  /** False: answered 503. */
  admits(host: string): boolean;
  connected(wire: Wire): void;
}

/** A running server. */
export interface Listener {
  /** The real "host:port". */
  address: string;
  close(): Promise<void>;
}

/** Seconds without a byte after which Bun closes a connection that is no WebSocket yet. */
const HTTP_IDLE_S = 10;

/** Starts to listen. Throws PORT_IN_USE and other system failures with a hint. */
export function startListener(options: ListenerOptions): Listener {
  const { host, port } = options.listen;
  let server: Server<SocketData>;
  try {
    server = Bun.serve<SocketData>({
      hostname: host,
      port,
      idleTimeout: HTTP_IDLE_S,
      maxRequestBodySize: 1024,
      tls: { cert: options.certificate.cert_pem, key: options.certificate.key_pem },
      fetch: (request, self) => upgrade(request, self, options),
      websocket: {
        perMessageDeflate: false,
        maxPayloadLength: options.message_bytes,
        backpressureLimit: 2 * options.outgoing_bytes,
        // Liveness is checked above, inside the authenticated session.
        idleTimeout: 0,
        sendPings: false,
        open(socket) {
          const wire = new Wire(serverSocket(socket), socket.data.host, false, options.total);
          socket.data.wire = wire;
          options.connected(wire);
        },
        message: (socket, data) => socket.data.wire?.received(data),
        close: (socket, code) => socket.data.wire?.gone(`closed (${code})`),
      },
    });
  } catch (error) {
    const known = toMagnetError(error);
    if (known.code !== "PORT_IN_USE") throw known;
    throw new MagnetError("PORT_IN_USE", `${host}:${port} is in use`, {
      hint: "another magnet may run here; choose another port, or port 0 for any free one",
      cause: error,
    });
  }
  const shown = host.includes(":") ? `[${host}]` : host;
  return { address: `${shown}:${server.port}`, close: () => server.stop(true) };
}

function upgrade(
  request: Request,
  server: Server<SocketData>,
  options: ListenerOptions,
): Response | undefined {
  const host = server.requestIP(request)?.address ?? "unknown";
  if (new URL(request.url).pathname !== PEER_PATH) return new Response(null, { status: 404 });
  if (!options.admits(host)) return new Response(null, { status: 503 });
  if (server.upgrade(request, { data: { host, wire: undefined } })) return undefined;
  return new Response(null, { status: 426 });
}

const serverSocket = (socket: ServerWebSocket<SocketData>) => ({
  // -1: queued, 0: dropped, which is an error and no success.
  send: (bytes: Uint8Array) => socket.sendBinary(bytes) !== 0,
  buffered_bytes: () => socket.getBufferedAmount(),
  close: (code: number, reason: string) => socket.close(code, reason),
  terminate: () => socket.terminate(),
});
