// A loopback proxy that adds a token to every request, for software that cannot be told one. Everything else, Host and
// Origin too, goes through as it comes.

import { createServer, request } from "node:http";

/** Starts one in front of `target`; its URL, and how to end it. */
export function withBearer(target, token) {
  const to = new URL(target);
  const server = createServer((incoming, outgoing) => {
    const headers = { ...incoming.headers, authorization: `Bearer ${token}` };
    const onward = request({ host: "127.0.0.1", port: to.port, method: incoming.method, path: incoming.url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode, answer.headers);
      answer.on("error", () => outgoing.destroy());
      answer.pipe(outgoing);
    });
    onward.on("error", () => outgoing.destroy());
    outgoing.on("close", () => onward.destroy());
    incoming.pipe(onward);
  });
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      server.unref();
      resolve({ url: `http://localhost:${server.address().port}${to.pathname}`, end: () => server.closeAllConnections() });
    });
  });
}
