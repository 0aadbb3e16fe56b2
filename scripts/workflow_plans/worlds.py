"""Plans of workflows with world models."""

from __future__ import annotations

import json

from build_workflows import Box, Group, Plan

from workflow_plans.parts import DEMO

WORLD_DIAGNOSE = Plan(
    'world_diagnose',
    """# Why do rollouts rot?

The same true clip is predicted in four ways, and each is compared with the truth:

| line | what it leaves out |
|---|---|
| tokenizer | nothing is predicted: true frames, encoded and decoded. The ceiling |
| one step | every frame from **true** frames (teacher forcing) |
| pixels | the world's own frames, decoded and tokenised again |
| tokens | the world's own tokens |

* tokenizer low: more or better tokens are needed, nothing behind it can do better.
* one step far below the tokenizer: the dynamics model is the limit.
* pixels far below one step: errors feed on themselves (training never showed the model its own frames).
* tokens above pixels: re-tokenising is what costs; set *feedback* to tokens.

The report adds how many tokens flip on re-tokenising, what hiding a quarter of the context costs (**masking test**), and whether **actions do anything**: same context, all actions, how far apart the next frames are.

PSNR is of frames in [0, 1]: 10 log10(1 / MSE). TinyWorlds' own tools print MSE only.

**Your own world**: frames from *Load Image* or *Load Video* (*Get Video Components*), one image per frame, longer than *context_window*.""",
    [
        [
            Group("A world and a true video", [
                Box('world', 'WanLiteWorldLoader', "Load World", {"world_name": f"{DEMO}/world.safetensors"}, id=2),
            ]),
        ],
        [
            Group("Four ways", [
                Box('diagnosis', 'WanLiteWorldDiagnose', "World Diagnose", {}, {"world": "world", "frames": "world.1"}, id=3),
            ]),
        ],
        [
            Group("What came of it", [
                Box('save_1', 'SaveImage', "Quality over time", {"filename_prefix": "wan-lite/world_diagnosis"}, {"images": "diagnosis"}, height=300, id=4),
                Box('save_2', 'SaveImage', "Truth, tokenizer, one step, both rollouts", {"filename_prefix": "wan-lite/world_comparison"}, {"images": "diagnosis.1"}, height=330, id=6),
            ]),
        ],
        [
            Group("The cause", [
                Box('report', 'PreviewAny', "The cause, and every number", {}, {"source": "diagnosis.2"}, height=600, id=5),
            ], is_yours=True),
        ],
    ],
    note_title='What this tells',
    note_size=(450, 530),
    width=(270, 270, 420, 330),
)  # fmt: skip

WORLD_ROLLOUT = Plan(
    'world_rollout',
    """# A small world, running on

*Load World* opens the demo world: a paddle keeps a ball up, 32x32 pixels, trained on TinyWorlds' architecture. Four true frames start it; from there it sees only its own last two.

**Group 4**: your actions. The demo world's have names: stay, left, right, stretch (the paddle). Where a world has none, write its ids, 0 and up, and try what they do.

**Group 5**: four futures of the same start. The rule *diversity* chooses the actions, and *temperature* lets the world draw instead of taking the likeliest token.

| number | meaning |
|---|---|
| temperature | softmax temperature of the tokens; 0 = the likeliest. The original's default is 0.5 |
| context_window | frames that a prediction sees; training used at most 4 |
| maskgit_steps | passes per frame, 10 in the original |
| feedback | *pixels* tokenises each new frame again, as the original; *tokens* keeps the tokens and loses nothing |

Frames getting worse? *world_diagnose* says why.

**A video** instead of the animated image: *Create Video* and *Save Video* take the frames.

**Go on** where a rollout stopped: its WORLD_ACTIONS into another rollout's *continue_from*.

**Your own world**: put the run's folder, or its three checkpoints, into **models/world_models** and press **R**. Start frames then come from *Load Image* (one per frame); set *resize* to fit if they have another size.""",
    [
        [
            Group("The world and its start", [
                Box('world', 'WanLiteWorldLoader', "Load World", {"world_name": f"{DEMO}/world.safetensors"}, id=2),
                Box('pick', 'ImageFromBatch', "The first four true frames", {"length": 4}, {"image": "world.1"}, id=3),
            ]),
        ],
        [
            Group("Your actions", [
                Box('actions_1', 'WanLiteWorldActions', "Your actions", {"text": "right x4, left x6, stay x2, stretch, right x6, left x5"}, id=4),
            ], is_yours=True),
            Group("A rule", [
                Box('actions_2', 'WanLiteWorldActions', "A rule", {"source": "diversity", "text": ""}, id=7),
            ]),
        ],
        [
            Group("Played by you", [
                Box('rollout_1', 'WanLiteWorldRollout', "Played", {"steps": 24, "seed": 7, "scale": 4, "overlay": True}, {"world": "world", "context": "pick", "actions": "actions_1"}, id=5),
            ]),
        ],
        [
            Group("Left to itself", [
                Box('rollout_2', 'WanLiteWorldRollout', "Four futures", {"steps": 12, "seed": 7, "rollouts": 4, "temperature": 0.5, "layout": "contact sheet", "scale": 3, "overlay": True}, {"world": "world", "context": "pick", "actions": "actions_2"}, id=8),
            ]),
        ],
        [
            Group("Images", [
                Box('animation', 'SaveAnimatedWEBP', "As an animation", {"filename_prefix": "wan-lite/world_played", "quality": 90}, {"images": "rollout_1"}, height=260, id=6),
                Box('save', 'SaveImage', "As a contact sheet", {"filename_prefix": "wan-lite/world_futures"}, {"images": "rollout_2"}, height=260, id=9),
                Box('report', 'PreviewAny', "What was done", {}, {"source": "rollout_2.2"}, height=150, id=10),
            ]),
        ],
    ],
    note_title='What this shows',
    note_size=(430, 600),
    width=(260, 240, 260, 260, 300),
)  # fmt: skip

PLAYED = {
    "format": "wan_lite.world_session",
    "version": 1,
    "seed": 7,
    "actions": [[*[1] * 4, *[2] * 9, 0, *[1] * 6, 3, 3, *[1] * 6, *[2] * 13, 0, *[1] * 6]],
    "settings": [{"step": 0, "maskgit_steps": 4}],
}
"""A game of 48 frames in which the paddle follows the ball."""

WORLD_PLAY = Plan(
    'world_play',
    """# Step into a world

1. Press **Play** on the node. The first time, the workflow runs once: that loads the world.
2. Click the image and use the keys: arrows or digits move the paddle, space stretches it.
3. **Run** the workflow: what you played comes out as frames.

The node opens with a game of 48 frames that was played before; *Play* continues from its end, **Reset** begins anew.

| on the node | meaning |
|---|---|
| clocked | a frame with every tick, with the key that is held; off: a frame for each key |
| confidence | tints the patches of which the world is unsure |
| Undo | takes a frame back |
| maskgit_steps, temperature, feedback | of the next game; fewer steps are faster |

The session (seed, actions, settings) is saved with the workflow: sharing the file shares the game, and every machine makes the same frames of it.

In a terminal: **wan-lite play**, the same in a page of its own, with videos to save.""",
    [
        [
            Group("The world and its start", [
                Box('world', 'WanLiteWorldLoader', "Load World", {"world_name": f"{DEMO}/world.safetensors"}, id=2),
                Box('pick', 'ImageFromBatch', "The first four true frames", {"length": 4}, {"image": "world.1"}, id=3),
            ]),
        ],
        [
            Group("Play", [
                Box('play', 'WanLiteWorldPlay', "Play", {"session": json.dumps(PLAYED), "seed": 7}, {"world": "world", "context": "pick"}, height=640, id=4),
            ], is_yours=True),
        ],
        [
            Group("What was played", [
                Box('scale', 'ImageScaleBy', "Eight times as large, no blur", {"upscale_method": "nearest-exact", "scale_by": 8.0}, {"image": "play"}, id=5),
                Box('animation', 'SaveAnimatedWEBP', "As an animation", {"filename_prefix": "wan-lite/world_game", "fps": 8.0, "quality": 90}, {"images": "scale"}, height=330, id=6),
                Box('report', 'PreviewAny', "The session", {}, {"source": "play.2"}, height=150, id=7),
            ]),
        ],
    ],
    note_title='How to play',
    note_size=(430, 560),
    width=(270, 340, 320),
)  # fmt: skip

PLANS = (WORLD_DIAGNOSE, WORLD_PLAY, WORLD_ROLLOUT)
