// A world in play: frames on a canvas, keys to actions, a clock. What sends the calls is given from outside, so that
// the command's own page and the node's widget share all of this.

const ARROWS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", " ": "space" };
const WORDS = { space: ["stretch", "fire", "jump", "action", "space"], up: ["up", "jump"], down: ["down", "duck"] };
const IDLE = ["stay", "none", "noop", "idle", "wait"];
const PING_SECONDS = 10;
const GONE = 410;

// Which key stands for which action: digits for all of them, arrows and space where an action has a fitting name.
export function assignKeys(actions) {
    const keys = new Map();
    const find = (words) => actions.findIndex((name) => words.includes(name.toLowerCase()));
    actions.forEach((_, action) => action < 10 && keys.set(String(action), action));
    const named = actions.some((name) => !/^\d+$/.test(name));
    for (const [position, [key, word]] of Object.entries(ARROWS).entries()) {
        const action = named ? find(WORDS[word] ?? [word]) : position + 1 < actions.length ? position + 1 : -1;
        if (action >= 0) keys.set(key, action);
    }
    return keys;
}

// The action of a clocked world while no key is held.
export const restingAction = (actions) =>
    Math.max(0, actions.findIndex((name) => IDLE.includes(name.toLowerCase())));

const LABELS = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", " ": "space" };

// [{ action, name, keys: ["1", "←"] }], for a legend.
export function makeLegend(actions, keys = assignKeys(actions)) {
    return actions.map((name, action) => ({
        action,
        name,
        keys: [...keys].filter(([, of]) => of === action).map(([key]) => LABELS[key] ?? key),
    }));
}

const decode = (encoded) => Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));

function draw(canvas, size, encoded) {
    const bytes = decode(encoded);
    const image = new ImageData(size, size);
    for (let pixel = 0; pixel < size * size; pixel += 1) {
        for (let channel = 0; channel < 3; channel += 1) image.data[4 * pixel + channel] = bytes[3 * pixel + channel];
        image.data[4 * pixel + 3] = 255;
    }
    if (canvas.width !== size || canvas.height !== size) Object.assign(canvas, { width: size, height: size });
    canvas.getContext("2d").putImageData(image, 0, 0);
}

// Tints each patch of a frame, the more the less sure the world was of its token: bytes, 255 for a probability of 1.
function tint(canvas, encoded) {
    const bytes = decode(encoded);
    const across = Math.sqrt(bytes.length);
    const side = canvas.width / across;
    const context = canvas.getContext("2d");
    bytes.forEach((probability, patch) => {
        context.fillStyle = `rgba(255, 32, 96, ${0.8 * (1 - probability / 255)})`;
        context.fillRect((patch % across) * side, Math.floor(patch / across) * side, side, side);
    });
}

// call(name, message) -> a promise of the answer; onChange(player) after every change; onError(error).
export class Player {
    constructor({ canvas, call, onChange = () => {}, onError = () => {} }) {
        Object.assign(this, { canvas, call, onChange, onError });
        Object.assign(this, { actions: [], keys: new Map(), held: [], session: null, step: 0, base: "", since: [], stepping: 0, game: 0 });
        Object.assign(this, { clocked: true, paused: true, fps: 8, frameTimes: [], achieved: 0, settings: {}, overlay: false });
        this.queue = Promise.resolve();
    }

    // What was played, as JSON: the record of the last look back, and the actions since.
    get played() {
        const more = this.since.join(", ");
        return this.base.replace(/("actions": \[\[)([^\]]*)/, (_, head, known) => head + [known, more].filter(Boolean).join(", "));
    }

    // A session that the server let go of (a tab that slept, a server that was started again) is opened from what was played.
    async callSession(name, message) {
        const { game } = this;
        if (!this.session) throw new Error("The session is closed.");
        try {
            return await this.call(name, { session: this.session, ...message });
        } catch (error) {
            if (error.status !== GONE || game !== this.game || !(await this.open({ record: this.played }))) throw error;
            return this.call(name, { session: this.session, ...message });
        }
    }

    // Calls of one session follow each other; an error ends the clock.
    ask(name, message = {}) {
        const answered = this.queue.then(() => this.callSession(name, message));
        this.queue = answered.then(
            () => {},
            (error) => {
                this.paused = true;
                this.onError(error);
                this.onChange(this);
            },
        );
        return answered;
    }

    // False when there is nothing to open yet.
    async open(message = {}) {
        const { game } = this;
        const answer = await this.call("open", message);
        const { session, size, actions, settings, fps } = answer;
        if (!session) return false;
        if (game !== this.game) {
            this.call("close", { session }).catch(() => {});
            throw new Error("The session is closed.");
        }
        Object.assign(this, { session, size, actions, settings, frameTimes: [], achieved: 0 });
        this.keys = assignKeys(actions);
        this.fps = fps ?? this.fps;
        clearInterval(this.pinging);
        const ping = () => this.session && this.call("ping", { session: this.session }).catch(() => {});
        this.pinging = setInterval(ping, 1000 * PING_SECONDS);
        this.show(answer);
        return true;
    }

    close() {
        clearInterval(this.pinging);
        clearTimeout(this.timer);
        const session = this.session;
        // Answers that are still on their way belong to the game before.
        Object.assign(this, { session: null, paused: true, held: [], pending: undefined, game: this.game + 1 });
        return session ? this.call("close", { session }).catch(() => {}) : Promise.resolve();
    }

    show({ frame, step, record, milliseconds, confidence }) {
        if (frame) draw(this.canvas, this.size, frame);
        if (confidence) tint(this.canvas, confidence);
        this.step = step ?? this.step;
        if (record) Object.assign(this, { base: record, since: [] });
        if (milliseconds !== undefined) {
            const now = performance.now();
            this.frameTimes = [...this.frameTimes, [now, milliseconds]].slice(-30);
            const seconds = (now - this.frameTimes[0][0]) / 1000;
            this.achieved = seconds > 0 ? (this.frameTimes.length - 1) / seconds : 0;
        }
        this.onChange(this);
    }

    get milliseconds() {
        const times = this.frameTimes.map(([, time]) => time);
        return times.length ? times.reduce((sum, time) => sum + time, 0) / times.length : 0;
    }

    async act(action) {
        const { game } = this;
        this.stepping += 1;
        const asked = this.ask("step", this.overlay ? { action, confidence: true } : { action });
        const answer = await asked.finally(() => (this.stepping -= 1));
        if (game !== this.game) return;
        this.since.push(action);
        this.show(answer);
    }

    async undo(count = 1) {
        this.pause();
        await this.showNext("undo", { count });
    }

    async reset() {
        this.pause();
        await this.showNext("reset");
    }

    async showNext(name, message) {
        const { game } = this;
        const answer = await this.ask(name, message);
        if (game === this.game) this.show(answer);
    }

    async configure(settings) {
        const { game } = this;
        const answer = await this.ask("configure", { settings });
        if (game !== this.game) return;
        this.settings = answer.settings;
        this.show(answer); // its record has the settings of the next step, too
    }

    async record() {
        return (await this.ask("record")).record;
    }

    // A held key acts with every tick of the clock; the one pressed last counts. A short press is not lost.
    press(action) {
        if (!this.held.includes(action)) this.held.push(action);
        this.pending = action;
        if (!this.clocked || this.paused) this.stepOnce(action);
    }

    release(action) {
        this.held = this.held.filter((other) => other !== action);
    }

    stepOnce(action) {
        this.pending = undefined;
        return this.act(action).catch(() => {});
    }

    play() {
        if (!this.session || !this.paused) return;
        Object.assign(this, { paused: false, frameTimes: [] });
        this.due = performance.now();
        this.round = (this.round ?? 0) + 1;
        this.tick(this.round);
        this.onChange(this);
    }

    pause() {
        Object.assign(this, { held: [], pending: undefined });
        if (this.paused) return;
        clearTimeout(this.timer);
        this.paused = true;
        this.onChange(this);
    }

    // A round is what lies between play and pause: a slow step of the last one must not start a second clock.
    async tick(round) {
        if (this.paused || !this.clocked || round !== this.round) return;
        const action = this.pending ?? this.held.at(-1) ?? restingAction(this.actions);
        this.pending = undefined;
        await this.act(action).catch(() => {});
        if (this.paused || round !== this.round) return;
        this.due = Math.max(this.due + 1000 / this.fps, performance.now());
        this.timer = setTimeout(() => this.tick(round), this.due - performance.now());
    }

    setClocked(clocked) {
        this.pause();
        this.clocked = clocked;
        this.onChange(this);
    }

    // True when the key is one of the world's; the caller then keeps it from the page.
    keyDown(event) {
        const action = this.keys.get(event.key);
        if (action === undefined || event.ctrlKey || event.metaKey || event.altKey || !this.session) return false;
        // What the keyboard repeats acts only when the last frame has come, so that letting go stops at once.
        if (!event.repeat || ((!this.clocked || this.paused) && !this.stepping)) this.press(action);
        return true;
    }

    keyUp(event) {
        const action = this.keys.get(event.key);
        if (action !== undefined) this.release(action);
        return action !== undefined;
    }
}
