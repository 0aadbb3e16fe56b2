// The pack's texts in the language of the page, from locales/<language>/main.json under "wanLite".
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";

let loaded;

async function load() {
    const answer = await api.fetchApi("/i18n").catch(() => null);
    return answer?.ok ? answer.json() : {};
}

export function currentLanguage() {
    const setting = app.extensionManager?.setting;
    return setting?.get?.("Comfy.Locale") ?? app.ui?.settings?.getSettingValue?.("Comfy.Locale") ?? "en";
}

const find = (table, path) => path.split(".").reduce((inner, key) => inner?.[key], table);

// Returns text(key, values): the text of a section in the page's language, else in English, with {name} filled in;
// text.has(key) says whether there is one.
export async function loadTexts(section) {
    const all = await (loaded ??= load());
    const look = (key) =>
        [currentLanguage(), "en"].map((language) => find(all[language]?.wanLite?.[section], key)).find(Boolean);
    const text = (key, values = {}) =>
        (look(key) ?? key).replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
    text.has = (key) => look(key) !== undefined;
    return text;
}
