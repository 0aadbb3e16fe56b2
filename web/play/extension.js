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

const text = await loadTexts("play");

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

const STYLE =
    ".wl-play{display:flex;flex-direction:column;gap:4px;height:100%;font:12px sans-serif;color:#ddd;align-items:center}" +
    ".wl-play canvas{flex:1;min-height:64px;max-width:100%;aspect-ratio:1;image-rendering:pixelated;border:2px solid #444;outline:none}" +
    ".wl-play canvas:focus{border-color:#7aa2ff}.wl-play div{display:flex;gap:4px;flex-wrap:wrap;justify-content:center}" +
    ".wl-play button{font:inherit;padding:2px 8px;touch-action:none}";

class NodePlayer {
    constructor(node) {
        this.node = node;
        this.value = node.widgets.find(({ name }) => name === "session");
        this.canvas = element("canvas", { width: 32, height: 32, tabIndex: 0 });
        this.status = element("span", { textContent: text("start") });
        this.actions = element("div");
        this.playButton = element("button", { textContent: text("play"), onclick: () => this.toggle() });
        this.clocked = element("input", { type: "checkbox", checked: true });
        this.clocked.onchange = () => this.player.setClocked(this.clocked.checked);
        const undo = element("button", { textContent: text("undo"), onclick: () => this.run(() => this.player.undo()) });
        const reset = element("button", { textContent: text("reset"), onclick: () => this.restart() });
        const buttons = element("div", {}, this.playButton, undo, reset, element("label", { title: text("clockedTooltip") }, this.clocked, ` ${text("clocked")}`));
        const style = element("style", { textContent: STYLE });
        this.root = element("div", { class: "wl-play" }, style, this.canvas, this.status, buttons, this.actions);
        this.player = new Player({
            canvas: this.canvas,
            call: (name, message) => this.call(name, message),
            onChange: () => this.show(),
            onError: (error) => this.fail(error),
        });
        this.listen();
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
        for (;;) {
            try {
                return await postJson(`/wan-lite/play/${name}`, name === "open" ? { node: String(this.node.id), ...message } : message);
            } catch (error) {
                if (error.status !== BUSY) throw error;
                this.status.textContent = error.message;
                await wait(300);
            }
        }
    }

    read(name) {
        return this.node.widgets.find((widget) => widget.name === name)?.value;
    }

    async open() {
        const message = this.value.value ? { record: this.value.value } : { seed: Number(this.read("seed")) || 0 };
        await this.player.open(message);
        if (!message.record) {
            const names = ["temperature", "maskgit_steps", "feedback"];
            await this.player.configure(Object.fromEntries(names.map((name) => [name, this.read(name)])));
            this.stored = undefined;
        }
        this.actions.replaceChildren(
            ...makeLegend(this.player.actions).map(({ action, name, keys }) => {
                const button = element("button", { textContent: `${name} ${keys.join(" ")}` });
                button.onpointerdown = () => this.player.press(action);
                for (const end of ["pointerup", "pointerleave", "pointercancel"])
                    button.addEventListener(end, () => this.player.release(action));
                return button;
            }),
        );
    }

    // The first time, the workflow runs once: that is how the world and the context come here.
    async ensureOpen() {
        if (this.player.session) return;
        try {
            await this.open();
        } catch (error) {
            if (error.status !== GONE) throw error;
            this.status.textContent = text("running");
            await this.runWorkflow();
            await this.open();
        }
    }

    async runWorkflow() {
        const ends = ["execution_success", "execution_error", "execution_interrupted"];
        let over;
        const executed = new Promise((done, fail) => {
            over = (event) => (event.type === ends[0] ? done() : fail(new Error(text("failed"))));
            for (const name of ends) api.addEventListener(name, over);
        });
        try {
            if ((await app.queuePrompt(0, 1)) === false) throw new Error(text("failed"));
            await executed;
        } finally {
            for (const name of ends) api.removeEventListener(name, over);
        }
    }

    async run(act) {
        try {
            await this.ensureOpen();
            await act();
        } catch (error) {
            this.fail(error);
        }
        await this.store();
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
        this.value.value = "";
        this.stored = undefined;
        await this.player.close();
        await this.run(() => {});
    }

    fail(error) {
        if (error.status === GONE) this.player.close();
        this.problem = error.message;
        this.status.textContent = error.message;
    }

    show() {
        const { step, milliseconds, achieved, paused } = this.player;
        this.playButton.textContent = text(paused ? "play" : "pause");
        const values = { step, milliseconds: milliseconds.toFixed(0), rate: achieved.toFixed(1) };
        this.status.textContent = this.problem ?? text(paused ? "frame" : "frameAndRate", values);
        this.problem = undefined;
        if (paused) this.store();
    }

    // The widget holds what was played, so that saving and queueing the workflow carry it.
    async store() {
        if (!this.player.session || this.player.step === this.stored) return;
        this.stored = this.player.step;
        this.value.value = await this.player.record().catch(() => this.value.value);
        app.graph?.setDirtyCanvas?.(true, true);
    }
}

app.registerExtension({
    name: "wanLite.play",
    nodeCreated(node) {
        if (node.comfyClass !== NODE) return;
        const player = new NodePlayer(node);
        const widget = node.addDOMWidget("player", "wan-lite-player", player.root, {
            serialize: false,
            hideOnZoom: false,
            getMinHeight: () => 260,
        });
        widget.serialize = false;
        player.value.hidden = true;
        node.wanLitePlayer = player;
        const removed = node.onRemoved;
        node.onRemoved = function (...values) {
            player.player.close();
            return removed?.apply(this, values);
        };
    },
});
