// Asking the pack's own routes on the server.
import { api } from "../../../scripts/api.js";

// Posts JSON to a route; an Error's message is the sentence that the server gave, its status the answer's.
// options are fetch's, such as keepalive for what is said while the page closes.
export async function postJson(path, content, options = {}) {
    const answer = await api.fetchApi(path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(content),
        ...options,
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) {
        const sentence = said.error ?? `${answer.status} ${answer.statusText}`;
        throw Object.assign(new Error(sentence), { status: answer.status });
    }
    return said;
}
