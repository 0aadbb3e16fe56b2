"""Plans of workflows with students: batches, contracts and the probe."""

from __future__ import annotations

from build_workflows import Box, Group, Plan

from workflow_plans.parts import DEMO

BATCH_OF_CAPTIONS = Plan(
    'student_batch_of_captions',
    """# Every caption at once

The file holds 36 prompts. With **index** **-1** the CONDITIONING carries all of them and image *i* gets prompt *i*; *Empty Latent* asks for 36 images. One run, one image for each caption: the sheet by which you judge a student.

**A batch must not change its images.** Two things usually do:

| | elsewhere | here |
|---|---|---|
| noise | one draw for the whole batch | image *i* has the noise of **seed + i** |
| text | padded to the longest prompt (512 rows in ComfyUI), and the student averages over **all** rows | every prompt is averaged over its own tokens |

The second is the quiet one: a prompt of 12 tokens, averaged over 512 rows, reaches the student at a fortieth of its strength. The image is not noise, it just does not follow the prompt. In a batch of prompts of different lengths, a longer neighbour changes yours.

**The proof is on the right**: image 17 alone (**index** 17, seed 7 + 17 = 24, batch 1), the same image out of the batch, and the difference of the two. It is black. (On a graphics card a batch of another size may round its last bit differently; that is invisible too.)

* More images than prompts: the prompts start again from the first.
* Not enough memory for 36 at once: 12 in *Empty Latent* generates the first 12.
* Other prompts: *Wan Lite Save Text Embeds* writes such a file from *CLIP Text Encode*.""",
    [
        [
            Group("The student", [
                Box('model', 'WanLiteStudentLoader', "Student", {"student_name": f"{DEMO}/student_flow.safetensors", "contract_preset": "flow_unipc-20 shift 5"}, id=2),
                Box('vae', 'WanLiteVAELoader', "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, id=3),
            ]),
        ],
        [
            Group("All captions", [
                Box('text_1', 'WanLiteTextEmbedsLoad', "All 36 prompts", {"name": f"{DEMO}/captions.safetensors"}, id=4),
                Box('latent_1', 'WanLiteEmptyLatent', "36 latents", {"batch_size": 36}, {"model": "model"}, id=5),
            ]),
            Group("Image 17, alone", [
                Box('text_2', 'WanLiteTextEmbedsLoad', "Prompt 17", {"name": f"{DEMO}/captions.safetensors", "index": 17}, id=9),
                Box('latent_2', 'WanLiteEmptyLatent', "One latent", {}, {"model": "model"}, id=10, folded=True),
            ], is_yours=True),
        ],
        [
            Group("Sample them", [
                Box('sampler_1', 'WanLiteFlowUniPCSampler', "FlowUniPC, seed 7", {"seed": 7}, {"model": "model", "positive": "text_1", "latent_image": "latent_1"}, id=6),
                Box('decode_1', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler_1", "vae": "vae"}, id=7, folded=True),
            ]),
            Group("Sample it", [
                Box('sampler_2', 'WanLiteFlowUniPCSampler', "Seed 7 + 17 = 24", {"seed": 24}, {"model": "model", "positive": "text_2", "latent_image": "latent_2"}, id=11),
                Box('decode_2', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler_2", "vae": "vae"}, id=12, folded=True),
            ]),
        ],
        [
            Group("An image for each caption", [
                Box('save', 'SaveImage', "36 images", {"filename_prefix": "wan-lite/captions"}, {"images": "decode_1"}, height=300, id=8),
            ]),
            Group("Is it the same?", [
                Box('pick', 'ImageFromBatch', "Image 17 of the batch", {"batch_index": 17}, {"image": "decode_1"}, id=14),
                Box('difference', 'ImageBlend', "Difference", {"blend_factor": 1.0, "blend_mode": "difference"}, {"image1": "decode_2", "image2": "pick"}, id=16),
            ]),
        ],
        [
            Group("Compare", [
                Box('preview_1', 'PreviewImage', "Alone", {}, {"images": "decode_2"}, height=140, id=13),
                Box('preview_2', 'PreviewImage', "From the batch", {}, {"images": "pick"}, height=140, id=15),
                Box('preview_3', 'PreviewImage', "Difference: black", {}, {"images": "difference"}, height=140, id=17),
            ]),
        ],
    ],
    note_title='What a batch must not change',
    note_size=(450, 520),
    width=(280, 250, 275, 290, 190),
)  # fmt: skip

CONTRACT_SAMPLING = Plan(
    'student_contract_sampling',
    """# The checkpoint says how it is sampled

Two students, one graph. Nothing in it names a solver, a schedule or a shift: **Contract Sampling** reads them from the record that each checkpoint carries and sets up core's *SamplerCustomAdvanced*.

| in the contract | demo student 1 | demo student 2 |
|---|---|---|
| solver | DDIM | FlowUniPC |
| output read as | noise (epsilon) | velocity |
| shift | 1 | 5 |

**The value that matters is **prediction**.** Read a velocity as noise and you get coloured mush, whatever the steps. Swap the two students in the loaders: the images stay right, because the contract travels with the file.

* **steps** and **shift** 0 take the contract's numbers. Another number of steps is a matter of taste and time, so it is allowed; another **shift** or solver stops the run, with both values in the message. **on_mismatch** *warn* lets it through: try it once to know what it looks like.
* A folder from a training run has no contract. Then the preset in *Student* is used and marked **assumed**; *student_probe* tells which fits.
* *Noise* gives image *i* the seed **noise_seed + i**: alone or in a batch, the same image.
* *Schedule Plot* draws the noise levels that are used. Compare: DDIM goes down to 0 from far above 1 (noise over signal), the flow schedule from 1.

What was used is written into the PNG (**wan-lite inspect image.png** prints it).""",
    [
        [
            Group("Text and VAE for both", [
                Box('text', 'WanLiteTextEmbedsLoad', "Prompts: image i gets prompt i", {"name": f"{DEMO}/captions.safetensors"}, id=22, folded=True),
                Box('vae', 'WanLiteVAELoader', "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, id=23, folded=True),
            ]),
            Group("A student with DDIM", [
                Box('model_1', 'WanLiteStudentLoader', "Student 1", {"student_name": f"{DEMO}/student_ddim.safetensors", "contract_preset": "ddim-20 run_inference"}, height=154, id=2),
                Box('latent_1', 'WanLiteEmptyLatent', "Twelve latents in its own size", {"batch_size": 12}, {"model": "model_1"}, id=6, folded=True),
            ]),
            Group("A student with FlowUniPC", [
                Box('model_2', 'WanLiteStudentLoader', "Student 2", {"student_name": f"{DEMO}/student_flow.safetensors", "contract_preset": "flow_unipc-20 shift 5"}, height=154, id=12),
                Box('latent_2', 'WanLiteEmptyLatent', "Twelve latents in its own size", {"batch_size": 12}, {"model": "model_2"}, id=16, folded=True),
            ]),
        ],
        [
            Group("As its contract says", [
                Box('contract_1', 'WanLiteContractSampling', "Contract Sampling", {}, {"model": "model_1", "contract": "model_1.1"}, height=244, id=3),
                Box('noise_1', 'WanLiteNoise', "Noise: seed + i", {"noise_seed": 7}, id=4, folded=True),
                Box('guider_1', 'BasicGuider', "Guider (no cfg, as trained)", {}, {"model": "contract_1", "conditioning": "text"}, id=5, folded=True),
            ]),
            Group("As its contract says", [
                Box('contract_2', 'WanLiteContractSampling', "Contract Sampling", {}, {"model": "model_2", "contract": "model_2.1"}, height=244, id=13),
                Box('noise_2', 'WanLiteNoise', "Noise: seed + i", {"noise_seed": 7}, id=14, folded=True),
                Box('guider_2', 'BasicGuider', "Guider (no cfg, as trained)", {}, {"model": "contract_2", "conditioning": "text"}, id=15, folded=True),
            ]),
        ],
        [
            Group("Core's own sampler", [
                Box('sampler_1', 'SamplerCustomAdvanced', "SamplerCustomAdvanced", {}, {"noise": "noise_1", "guider": "guider_1", "sampler": "contract_1.1", "sigmas": "contract_1.2", "latent_image": "latent_1"}, id=7),
                Box('plot_1', 'WanLiteSchedulePlot', "Schedule Plot", {}, {"sigmas": "contract_1.2"}, id=8, folded=True),
                Box('preview_1', 'PreviewImage', "Noise levels", {}, {"images": "plot_1"}, height=112, id=9),
            ]),
            Group("Core's own sampler", [
                Box('sampler_2', 'SamplerCustomAdvanced', "SamplerCustomAdvanced", {}, {"noise": "noise_2", "guider": "guider_2", "sampler": "contract_2.1", "sigmas": "contract_2.2", "latent_image": "latent_2"}, id=17),
                Box('plot_2', 'WanLiteSchedulePlot', "Schedule Plot", {}, {"sigmas": "contract_2.2"}, id=18, folded=True),
                Box('preview_2', 'PreviewImage', "Noise levels", {}, {"images": "plot_2"}, height=112, id=19),
            ]),
        ],
        [
            Group("Images", [
                Box('decode_1', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler_1", "vae": "vae"}, id=10, folded=True),
                Box('save_1', 'SaveImage', "Save", {"filename_prefix": "wan-lite/contract_ddim"}, {"images": "decode_1"}, height=306, id=11),
            ]),
            Group("Images", [
                Box('decode_2', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler_2", "vae": "vae"}, id=20, folded=True),
                Box('save_2', 'SaveImage', "Save", {"filename_prefix": "wan-lite/contract_flow"}, {"images": "decode_2"}, height=306, id=21),
            ]),
        ],
    ],
    note_title='What decides here',
    note_size=(450, 550),
)  # fmt: skip

PROBE = Plan(
    'student_probe',
    """# Which sampling does this checkpoint want?

A training run saves weights and a **config.json**; neither says how the network was meant to be sampled. Guessing wrong gives noise that looks like a broken student. The **probe** tries every candidate from the same noise and ranks what comes out.

It looks at the latents only, never at taste: how far their mean, spread and neighbourhood are from what Wan's latents look like, and how far a run is from the finest run of its own reading.

**What to look at**
1. **Grid**: an image for each candidate, the best first. Mush in all of one reading (*epsilon* or *velocity*) means: wrong reading.
2. **Chart**: how large the latent is along the run, over what it should be: 1 is right. A wrong **prediction** runs away; wrong **steps** or **shift** do not show here, the grid says how far they are from the finest run.
3. **Report**: the verdict in a sentence, then the numbers, and how sure it is.

The demo student here *has* a contract (DDIM, epsilon), so that you can see whether the probe finds it: it does not look at it.

Group 4 generates with what the probe found: its **best** contract goes into *Contract Sampling*. There **on_mismatch** is *warn*, because a finding may differ from what the file says.

* **pictures**: more latents for each candidate are steadier evidence, and slower.
* **candidates**: names of presets, one a line; connect a contract for one more of your own.
* Prompt: one from the training data is the fairest.

**Keep the answer**: *Make Contract* with the preset that won, then *Save Student*: one file, and nobody has to guess again.""",
    [
        [
            Group("The student in question", [
                Box('model', 'WanLiteStudentLoader', "Student", {"student_name": f"{DEMO}/student_ddim.safetensors", "contract_preset": "ddim-20 run_inference"}, id=2),
                Box('text', 'WanLiteTextEmbedsLoad', "A prompt it was trained on", {"name": f"{DEMO}/captions.safetensors", "captions": "red dots"}, id=3),
                Box('vae', 'WanLiteVAELoader', "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, id=4),
            ]),
        ],
        [
            Group("Try everything", [
                Box('probe', 'WanLiteSamplingProbe', "Sampling Probe", {"seed": 7, "cell": 192}, {"model": "model", "positive": "text", "vae": "vae"}, height=340, id=6),
            ]),
        ],
        [
            Group("The evidence", [
                Box('save_2', 'SaveImage', "Grid: best first", {"filename_prefix": "wan-lite/probe_grid"}, {"images": "probe"}, height=270, id=7),
                Box('save_3', 'SaveImage', "Chart: 1 is right", {"filename_prefix": "wan-lite/probe_chart"}, {"images": "probe.1"}, height=270, id=8),
                Box('report', 'PreviewAny', "Report", {}, {"source": "probe.2"}, height=170, id=9),
            ], is_yours=True),
        ],
        [
            Group("Generate with the finding", [
                Box('contract', 'WanLiteContractSampling', "Contract Sampling", {"on_mismatch": "warn"}, {"model": "model", "contract": "probe.3"}, id=10),
                Box('noise', 'WanLiteNoise', "Noise", {"noise_seed": 7}, id=11, folded=True),
                Box('guider', 'BasicGuider', "Guider", {}, {"model": "contract", "conditioning": "text"}, id=12, folded=True),
                Box('latent', 'WanLiteEmptyLatent', "Four latents", {"batch_size": 4}, {"model": "model"}, id=13, folded=True),
            ]),
        ],
        [
            Group("Images", [
                Box('sampler', 'SamplerCustomAdvanced', "SamplerCustomAdvanced", {}, {"noise": "noise", "guider": "guider", "sampler": "contract.1", "sigmas": "contract.2", "latent_image": "latent"}, id=14),
                Box('decode', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler", "vae": "vae"}, id=15, folded=True),
                Box('save_1', 'SaveImage', "Save", {"filename_prefix": "wan-lite/probe_best"}, {"images": "decode"}, height=300, id=5),
            ]),
        ],
    ],
    note_title='What the probe answers',
    note_size=(450, 580),
    width=(270, 270, 260, 260, 240),
)  # fmt: skip

PLANS = (BATCH_OF_CAPTIONS, CONTRACT_SAMPLING, PROBE)
