/** The paths of the server: labels of logs and metrics, and the methods that each takes. */

const ROUTES: Record<string, readonly string[]> = {
  "/": ["GET", "HEAD"],
  "/health": ["GET", "HEAD"],
  "/ready": ["GET", "HEAD"],
  "/metrics": ["GET", "HEAD"],
  "/v1/chat/completions": ["POST"],
  "/v1/completions": ["POST"],
  "/v1/embeddings": ["POST"],
  "/v1/models": ["GET", "HEAD"],
  "/api/version": ["GET", "HEAD"],
  "/api/tags": ["GET", "HEAD"],
  "/api/ps": ["GET", "HEAD"],
  "/api/show": ["POST"],
  "/api/chat": ["POST"],
  "/api/generate": ["POST"],
  "/api/embed": ["POST"],
  "/api/embeddings": ["POST"],
  "/x402": ["GET", "HEAD"],
  "/x402/receipts": ["POST"],
};
const MODEL_ROUTE = "/v1/models/:id";
const CREDIT_ROUTE = "/x402/credits/:payer/:nonce";

/** The pattern of a path; `other` for what is not served, so that labels stay few. */
export function routeOf(path: string): string {
  if (Object.hasOwn(ROUTES, path)) return path;
  if (path.startsWith("/x402/credits/")) return CREDIT_ROUTE;
  return path.startsWith("/v1/models/") ? MODEL_ROUTE : "other";
}

/** Methods of a path; none where it is not served. */
export function methodsOf(path: string): readonly string[] {
  if (Object.hasOwn(ROUTES, path)) return ROUTES[path]!;
  const pattern = path.startsWith("/v1/models/") || path.startsWith("/x402/credits/");
  return pattern ? ["GET", "HEAD"] : [];
}
