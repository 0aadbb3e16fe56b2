// Workflows store a node's widgets by position. Values of inputs that a node no longer has are taken out on loading,
// so that the values behind them reach their own widgets.
import { app } from "../../scripts/app.js";

const TABLE = await (await fetch(new URL("./removed_inputs.json", import.meta.url))).json();

function withoutRemoved(info, { widgets, removed }) {
    const stored = info.widgets_values;
    if (!Array.isArray(stored) || stored.length !== widgets.length) return info;
    console.info(`Wan Lite: ${info.type} no longer has ${removed.join(", ")}; the saved values are passed over.`);
    return {
        ...info,
        widgets_values: stored.filter((_, position) => !removed.includes(widgets[position])),
        inputs: info.inputs?.filter((input) => !removed.includes(input.name)),
    };
}

app.registerExtension({
    name: "wanLite.removedInputs",
    beforeRegisterNodeDef(nodeType, nodeData) {
        const entry = TABLE[nodeData.name];
        if (!entry) return;
        const configure = nodeType.prototype.configure;
        nodeType.prototype.configure = function (info) {
            return configure.call(this, withoutRemoved(info, entry));
        };
    },
});
