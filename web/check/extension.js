// "Wan Lite: check sampling": what the open graph will sample, beside what its models were trained for.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { addStyleSheet, element } from "../common/dom.js";
import { loadTexts } from "../common/texts.js";
import { addBadge, showBadges, watched } from "./badges.js";
import { fillPanel } from "./panel.js";
import { checkGraph, graphChanged, session } from "./session.js";

const TAB = "wan-lite-check";
const COMMAND = "WanLite.CheckSampling";
const panel = element("div", { class: "wl-check" });

let text = (key) => key;

const sidebar = () => app.extensionManager?.sidebarTab;
const hasSidebar = () => typeof app.extensionManager?.registerSidebarTab === "function";

function openPanel() {
    fillPanel(panel, text);
    if (!hasSidebar()) app.ui.dialog.show(panel);
    else if (sidebar()?.activeSidebarTabId !== TAB)
        app.extensionManager.command.execute(`Workspace.ToggleSidebarTab.${TAB}`);
}

async function checkSampling() {
    openPanel();
    await checkGraph();
}

const findTab = () => sidebar()?.sidebarTabs?.find(({ id }) => id === TAB);

const names = () => ({ title: text("title"), label: text("label"), tooltip: text("tooltip") });

function registerTab() {
    app.extensionManager.registerSidebarTab({
        ...names(),
        id: TAB,
        icon: "pi pi-verified",
        revision: 0,
        type: "custom",
        render: (container) => {
            container.style.height = "100%";
            container.replaceChildren(panel);
            fillPanel(panel, text);
        },
    });
    watched.source = findTab() ?? watched.source;
}

// In another language the tab has another name, and what was found other words.
function languageChanged() {
    Object.assign(findTab() ?? {}, names());
    session.onChange(session);
}

session.onChange = ({ report }) => {
    fillPanel(panel, text);
    showBadges(report?.findings ?? [], text, openPanel);
};

app.registerExtension({
    name: "wanLite.check",
    commands: [{ id: COMMAND, label: "Wan Lite: check sampling", icon: "pi pi-verified", function: checkSampling }],
    keybindings: [{ commandId: COMMAND, combo: { key: "x", ctrl: true, shift: true } }],
    menuCommands: [{ path: ["Wan Lite"], commands: [COMMAND] }],
    async setup() {
        addStyleSheet(new URL("./panel.css", import.meta.url));
        text = await loadTexts("check");
        if (hasSidebar()) registerTab();
        api.addEventListener("graphChanged", graphChanged);
        app.ui?.settings?.addEventListener?.("Comfy.Locale.change", () => setTimeout(languageChanged));
    },
    nodeCreated: addBadge,
    afterConfigureGraph: graphChanged,
});
