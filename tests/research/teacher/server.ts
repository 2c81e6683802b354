/** A server of the OpenAI and Anthropic APIs on loopback, with scripted answers, for the tests. */

export interface AskedRequest {
  path: string;
  headers: Headers;
  body: { messages: { role: string; content: unknown }[]; [key: string]: unknown };
}

/** What the server does with a request: a text, or a response of its own. */
export type Script = (request: AskedRequest, index: number) => string | Response;

export function startTeacherServer(script: Script) {
  const asked: AskedRequest[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { pathname: path } = new URL(request.url);
      const entry = {
        path,
        headers: request.headers,
        body: (await request.json()) as AskedRequest["body"],
      };
      const answer = script(entry, asked.push(entry) - 1);
      if (answer instanceof Response) return answer;
      if (path.endsWith("/messages"))
        return Response.json({
          ...{ id: "m", type: "message", role: "assistant", model: "m", stop_reason: "end_turn" },
          content: [{ type: "text", text: answer }],
          usage: { input_tokens: 30, output_tokens: 10 },
        });
      return Response.json({
        ...{ id: "c", object: "chat.completion", created: 1, model: "m" },
        choices: [
          { index: 0, finish_reason: "stop", message: { role: "assistant", content: answer } },
        ],
        usage: { prompt_tokens: 30, completion_tokens: 10, total_tokens: 40 },
      });
    },
  });
  return {
    asked,
    base_url: `http://127.0.0.1:${server.port}/v1`,
    stop: () => server.stop(true),
  };
}
