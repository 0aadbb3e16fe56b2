// Wan Lite Play World: a player on the node. What was played is the value of the node's widget "session".
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { element } from "../common/dom.js";
import { postJson } from "../common/server.js";
import { loadTexts } from "../common/texts.js";
import { makeLegend, Player } from "./player.js";

const NODE = "WanLiteWorldPlay";
const BUSY = 503;
const GONE = 410;
const HEIGHT = 340;
const WIDTH = 320;
const FASTEST = 60;
const STORE_MILLISECONDS = 1000;
const ENDS = ["execution_success", "execution_error", "execution_interrupted"];
const SETTINGS = ["temperature", "maskgit_steps", "feedback"];

const text = await loadTexts("play");

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

const STYLE =
    ".wl-play{display:flex;flex-direction:column;gap:4px;height:100%;font:12px sans-serif;color:#ddd;align-items:center}" +
    ".wl-play canvas{flex:1;min-height:180px;max-width:100%;aspect-ratio:1;image-rendering:pixelated;border:2px solid #444;outline:none}" +
    ".wl-play canvas:focus{border-color:#7aa2ff}.wl-play div{display:flex;gap:4px;flex-wrap:wrap;justify-content:center;align-items:center}" +
    ".wl-play button,.wl-play input{font:inherit;padding:2px 8px;touch-action:none}.wl-play input[type=number]{width:3.5em}" +
    ".wl-play label{display:flex;gap:4px;align-items:center}";

// How runs in the page end, by their ids; events are listened to from now on.
function watchRuns() {
    const ended = new Map();
    let wake = () => {};
    const hear = ({ type, detail }) => (ended.set(detail?.prompt_id, type), wake());
    for (const name of ENDS) api.addEventListener(name, hear);
    return {
        async end(run) {
            while (!ended.has(run)) await new Promise((done) => (wake = done));
            return ended.get(run);
        },
        stop: () => ENDS.forEach((name) => api.removeEventListener(name, hear)),
    };
}

// Queues the open workflow and returns the run's id, which the page itself does not tell.
async function queueWorkflow() {
    let run;
    const { queuePrompt } = api;
    api.queuePrompt = async (...values) => {
        const answer = await queuePrompt.apply(api, values);
        run ??= answer?.prompt_id;
        return answer;
    };
    try {
        await app.queuePrompt(0, 1);
    } finally {
        api.queuePrompt = queuePrompt;
    }
    return run;
}

class NodePlayer {
    constructor(node) {
        this.node = node;
        this.value = node.widgets.find(({ name }) => name === "session");
        this.canvas = element("canvas", { width: 32, height: 32, tabIndex: 0 });
        this.status = element("span", { textContent: text("start") });
        this.actions = element("div");
        this.player = new Player({
            canvas: this.canvas,
            call: (name, message) => this.call(name, message),
            onChange: () => this.show(),
            onError: (error) => this.fail(error),
        });
        const style = element("style", { textContent: STYLE });
        this.root = element("div", { class: "wl-play" }, style, this.canvas, this.status, this.makeButtons(), this.makeFields(), this.actions);
        this.listen();
    }

    makeButtons() {
        const button = (name, onclick) => element("button", { textContent: text(name), onclick });
        this.playButton = button("play", () => this.toggle());
        const undo = button("undo", () => this.run(() => this.player.undo()));
        return element("div", {}, this.playButton, undo, button("reset", () => this.restart()));
    }

    makeFields() {
        const box = (name, checked, set) => {
            const input = element("input", { type: "checkbox", checked, onchange: () => set(input.checked) });
            return element("label", { title: text(`${name}Tooltip`) }, input, text(name));
        };
        this.speed = element("input", { type: "number", min: 1, max: FASTEST, step: 1, value: this.player.fps });
        this.speed.onchange = () => this.setSpeed(Number(this.speed.value));
        return element(
            "div",
            {},
            box("clocked", true, (clocked) => this.player.setClocked(clocked)),
            box("confidence", false, (shown) => (this.player.overlay = shown)),
            element("label", {}, this.speed, text("speed")),
        );
    }

    // Keys are the player's while its image has the focus, and only then.
    listen() {
        this.canvas.addEventListener("keydown", (event) => this.player.keyDown(event) && this.keep(event));
        this.canvas.addEventListener("keyup", (event) => this.player.keyUp(event) && this.keep(event));
        this.canvas.addEventListener("blur", () => this.player.pause());
        this.root.addEventListener("pointerdown", (event) => event.stopPropagation());
        // A button leaves the focus where it is: without the focus, the player pauses.
        this.root.addEventListener("mousedown", (event) => event.target.closest("button") && event.preventDefault());
        this.canvas.addEventListener("pointerdown", () => this.canvas.focus());
    }

    keep(event) {
        event.preventDefault();
        event.stopImmediatePropagation();
    }

    // A workflow that runs goes before: the call waits.
    async call(name, message) {
        const content = name === "open" ? { ...this.place(), ...message } : message;
        for (;;) {
            try {
                return await postJson(`/wan-lite/play/${name}`, content, { keepalive: name === "close" });
            } catch (error) {
                if (error.status !== BUSY) throw error;
                this.status.textContent = error.message;
                await wait(300);
            }
        }
    }

    // Which node of which workflow, as the server knows it from the run.
    place() {
        const { id } = (app.rootGraph ?? app.graph).serialize();
        return { workflow: id ?? "", node: String(this.node.id) };
    }

    read(name) {
        return this.node.widgets.find((widget) => widget.name === name)?.value;
    }

    setSpeed(fps) {
        this.player.fps = Math.min(FASTEST, Math.max(1, fps || this.player.fps));
        this.node.properties.fps = this.player.fps;
        this.speed.value = this.player.fps;
    }

    // False when the server has nothing to play here; after a run, what it has for this node is this workflow's.
    async open(hasRun = false) {
        if (this.removed) throw new Error(text("failed"));
        if (this.node.properties.fps) this.setSpeed(Number(this.node.properties.fps));
        const settings = Object.fromEntries(SETTINGS.map((name) => [name, this.read(name)]));
        const message = this.value.value ? { record: this.value.value } : { seed: Number(this.read("seed")) || 0, settings };
        if (!(await this.player.open({ ...message, has_run: hasRun }))) return false;
        this.actions.replaceChildren(
            ...makeLegend(this.player.actions).map(({ action, name, keys }) => {
                const button = element("button", { textContent: `${name} ${keys.join(" ")}` });
                button.onpointerdown = () => this.player.press(action);
                for (const end of ["pointerup", "pointerleave", "pointercancel"])
                    button.addEventListener(end, () => this.player.release(action));
                return button;
            }),
        );
        return true;
    }

    // The first time, the workflow runs once: that is how the world and the context come here.
    async ensureOpen() {
        if (this.player.session || (await this.open())) return;
        this.status.textContent = text("running");
        const runs = watchRuns();
        try {
            const run = await queueWorkflow();
            if (!run || (await runs.end(run)) !== ENDS[0]) throw new Error(text("failed"));
            if (!(await this.open(true))) throw new Error(text("notRun"));
        } finally {
            runs.stop();
        }
    }

    async run(act) {
        try {
            this.opening ??= this.ensureOpen().finally(() => (this.opening = undefined));
            await this.opening;
            await act();
        } catch (error) {
            this.fail(error);
        }
        this.store();
    }

    toggle() {
        if (!this.player.paused) {
            this.player.pause();
            return;
        }
        this.run(() => {
            this.canvas.focus();
            if (this.player.clocked) this.player.play();
        });
    }

    async restart() {
        await this.player.close();
        this.value.value = "";
        await this.run(() => {});
    }

    fail(error) {
        if (error.status === GONE) {
            this.store();
            this.player.close();
        }
        this.problem = error.message;
        this.status.textContent = error.message;
    }

    show() {
        const { step, milliseconds, achieved, paused } = this.player;
        this.playButton.textContent = text(paused ? "play" : "pause");
        const values = { step, milliseconds: milliseconds.toFixed(0), rate: achieved.toFixed(1) };
        this.status.textContent = this.problem ?? text(paused ? "frame" : "frameAndRate", values);
        this.problem = undefined;
        if (paused || performance.now() - (this.stored ?? 0) > STORE_MILLISECONDS) this.store();
    }

    // The widget holds what was played, so that saving and queueing the workflow carry it.
    store() {
        if (!this.player.session) return;
        this.stored = performance.now();
        if (this.value.value === this.player.played) return;
        this.value.value = this.player.played;
        app.graph?.setDirtyCanvas?.(true, true);
    }
}

// What is written into a file or sent to the server is as new as the last frame.
function storeBeforeSaving(node, player) {
    const serialized = node.onSerialize;
    node.onSerialize = function (written) {
        player.store();
        const place = node.widgets.indexOf(player.value);
        if (written.widgets_values && place in written.widgets_values) written.widgets_values[place] = player.value.value;
        return serialized?.call(this, written);
    };
    const close = () => player.player.close();
    const removed = node.onRemoved;
    node.onRemoved = function (...values) {
        player.removed = true;
        close();
        window.removeEventListener("pagehide", close);
        return removed?.apply(this, values);
    };
    window.addEventListener("pagehide", close);
}

// Widgets that are elements are hidden by their options, the others by themselves.
function hide(widget) {
    widget.hidden = true;
    widget.options.hidden = true; // in place: the page holds these options already
}

app.registerExtension({
    name: "wanLite.play",
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return;
        const player = new NodePlayer(node);
        const widget = node.addDOMWidget("player", "wan-lite-player", player.root, {
            serialize: false,
            hideOnZoom: false,
            getMinHeight: () => HEIGHT,
        });
        widget.serialize = false;
        hide(player.value);
        if (node.size[0] < WIDTH) node.setSize([WIDTH, node.size[1] + HEIGHT / 4]);
        node.wanLitePlayer = player;
        storeBeforeSaving(node, player);
    },
});
