// The page of `wan-lite play`.
import { makeLegend, Player } from "./player.js";

const find = (id) => document.getElementById(id);

async function post(name, message) {
    const answer = await fetch(name, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(message),
        keepalive: name === "close",
    });
    if (answer.headers.get("Content-Type")?.includes("octet-stream")) return answer.blob();
    const said = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(said.error ?? answer.statusText), { status: answer.status });
    return said;
}

let problem = "";

function show() {
    find("play").textContent = player.paused ? "Play" : "Pause";
    find("play").disabled = !player.clocked;
    const rate = player.paused ? "" : `, ${player.achieved.toFixed(1)} frames a second`;
    find("status").textContent = problem || `frame ${player.step}, ${player.milliseconds.toFixed(0)} ms${rate}`;
}

const player = new Player({
    canvas: find("canvas"),
    call: post,
    onChange: show,
    onError: (error) => {
        problem = error.message;
    },
});

function addButtons() {
    find("buttons").replaceChildren(
        ...makeLegend(player.actions).map(({ action, name, keys }) => {
            const button = document.createElement("button");
            const hint = document.createElement("kbd");
            hint.textContent = keys.join(" ");
            button.append(name, hint);
            button.onpointerdown = () => player.press(action);
            for (const end of ["pointerup", "pointerleave", "pointercancel"])
                button.addEventListener(end, () => player.release(action));
            return button;
        }),
    );
}

function save(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const readers = {
    temperature: (field) => Number(field.value),
    maskgit_steps: (field) => Math.round(Number(field.value)),
    feedback: (field) => field.value,
};

function connect() {
    find("play").onclick = () => {
        problem = "";
        if (player.paused) player.play();
        else player.pause();
        find("canvas").focus();
    };
    find("undo").onclick = () => player.undo().catch(() => {});
    find("reset").onclick = () => player.reset().catch(() => {});
    find("clocked").onchange = (event) => player.setClocked(event.target.checked);
    find("confidence").onchange = (event) => {
        player.overlay = event.target.checked;
    };
    find("fps").onchange = (event) => {
        player.fps = Math.min(60, Math.max(0.5, Number(event.target.value) || 8));
    };
    for (const [name, read] of Object.entries(readers)) {
        find(name).value = player.settings[name];
        find(name).onchange = (event) => player.configure({ [name]: read(event.target) }).catch(() => {});
    }
    find("fps").value = player.fps;
    find("record").onclick = async () =>
        save(new Blob([await player.record()], { type: "application/json" }), "session.json");
    find("export").onclick = async () => {
        const ending = find("format").value;
        save(await player.ask("export", { format: ending }), `session${ending}`);
    };
}

const isTyping = (target) => ["INPUT", "SELECT"].includes(target.tagName);
document.addEventListener("keydown", (event) => {
    if (!isTyping(event.target) && player.keyDown(event)) event.preventDefault();
});
document.addEventListener("keyup", (event) => player.keyUp(event));
addEventListener("blur", () => player.pause());
addEventListener("pagehide", () => player.close());
addEventListener("pageshow", (event) => event.persisted && location.reload());

try {
    await player.open();
    addButtons();
    connect();
    find("canvas").focus();
} catch (error) {
    problem = error.message;
}
show();
window.wanLitePlayer = player;
