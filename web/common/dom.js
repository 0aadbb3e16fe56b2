// Small means of building what the pack shows in the page.

// element("div", { class: "a", onclick: f }, "text", child): properties go onto the element; empty children are left out.
export function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (name === "class") made.className = value;
        else if (name in made) made[name] = value;
        else made.setAttribute(name, value);
    }
    made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
    return made;
}

// Adds a style sheet to the page, once.
export function addStyleSheet(url) {
    const href = String(url);
    if ([...document.styleSheets].some((sheet) => sheet.href === href)) return;
    document.head.append(element("link", { rel: "stylesheet", href }));
}

export const nextFrames = (count = 2) =>
    new Promise((done) => {
        const wait = (left) => (left ? requestAnimationFrame(() => wait(left - 1)) : done());
        wait(count);
    });
