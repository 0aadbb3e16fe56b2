"""Plans of workflows that begin with an image: image to image, inpainting, and the VAE there and back."""

from __future__ import annotations

from build_workflows import Box, Group, Plan

from workflow_plans.parts import DEMO

IMAGE_TO_IMAGE = Plan(
    'student_image_to_image',
    """# From an image to an image

Groups 1 and 2 (nodes that are folded open by a click on their dot) generate an image, so that the workflow needs no file. Put your own there: *Load Image* (both sides multiples of 8) into *Encode*.

The image is encoded, noised up to a level in the **middle** of the schedule, and sampled down from there with another prompt. **denoise is the value that matters**: the share of the schedule that runs.

| denoise | with 20 steps, shift 5 |
|---|---|
| 0.1 | the image's lines; its colours already move towards the new prompt's |
| 0.3 | the new prompt, with remains of the old lines |
| 0.6 | the new prompt; of the image hardly anything is left |
| 1 | pure noise: the image is **not used at all** |

**steps** counts the steps that really run: the schedule is made finer, so 20 steps at denoise 0.5 are 20 steps.

With shift 5 most of the schedule lies at high noise, so denoise 0.5 starts at a *sigma* of 0.83, not 0.5: flow students need smaller values than you are used to. (DDIM students with shift 1: **sigma² ≈ denoise**.)

* The **same** contract applies: solver, shift and reading as from noise. What goes wrong otherwise: a ModelSamplingSD3 or another shift noises the image to one level and starts the network at another; you see grain, or an image that is washed out.
* The LATENT between nodes is *raw*. Do not scale it by hand: the sampler does, once.
* **denoised** and LATENT are the same after a full run.

The seed noises image *i* with **seed + i**, as in text to image.""",
    [
        [
            Group("The student", [
                Box('model', 'WanLiteStudentLoader', "Student", {"student_name": f"{DEMO}/student_flow.safetensors", "contract_preset": "flow_unipc-20 shift 5"}, id=2),
                Box('vae', 'WanLiteVAELoader', "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, id=3),
            ]),
            Group("An image to start from", [
                Box('text_1', 'WanLiteTextEmbedsLoad', "Its prompt", {"name": f"{DEMO}/captions.safetensors", "captions": "blue vertical stripes"}, id=4, folded=True),
                Box('latent', 'WanLiteEmptyLatent', "Four latents", {"batch_size": 4}, {"model": "model"}, id=5, folded=True),
                Box('sampler_1', 'WanLiteFlowUniPCSampler', "Generate it", {"seed": 7}, {"model": "model", "positive": "text_1", "latent_image": "latent"}, id=6, folded=True),
                Box('decode_1', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler_1", "vae": "vae"}, id=7, folded=True),
            ]),
        ],
        [
            Group("Your image goes in here", [
                Box('preview', 'PreviewImage', "The images that are changed", {}, {"images": "decode_1"}, height=180, id=8),
                Box('encode', 'WanLiteVAEEncode', "Encode: n images, n latents", {}, {"image": "decode_1", "vae": "vae"}, id=9),
                Box('text_2', 'WanLiteTextEmbedsLoad', "The new prompt", {"name": f"{DEMO}/captions.safetensors", "captions": "diagonal green stripes"}, id=10),
            ], is_yours=True),
        ],
        [
            Group("Little", [
                Box('sampler_2', 'WanLiteFlowUniPCSampler', "denoise 0.1: keeps the image", {"seed": 107, "denoise": 0.1}, {"model": "model", "positive": "text_2", "latent_image": "encode"}, id=11),
                Box('decode_2', 'WanLiteVAEDecode', "Decode 0.1", {}, {"samples": "sampler_2", "vae": "vae"}, id=14, folded=True),
                Box('save_1', 'SaveImage', "denoise 0.1", {"filename_prefix": "wan-lite/image_to_image_01"}, {"images": "decode_2"}, height=240, id=15),
            ]),
        ],
        [
            Group("Half", [
                Box('sampler_3', 'WanLiteFlowUniPCSampler', "denoise 0.3: between the two", {"seed": 107, "denoise": 0.3}, {"model": "model", "positive": "text_2", "latent_image": "encode"}, id=12),
                Box('decode_3', 'WanLiteVAEDecode', "Decode 0.3", {}, {"samples": "sampler_3", "vae": "vae"}, id=16, folded=True),
                Box('save_2', 'SaveImage', "denoise 0.3", {"filename_prefix": "wan-lite/image_to_image_03"}, {"images": "decode_3"}, height=240, id=17),
            ]),
        ],
        [
            Group("Much", [
                Box('sampler_4', 'WanLiteFlowUniPCSampler', "denoise 0.6: the new prompt", {"seed": 107, "denoise": 0.6}, {"model": "model", "positive": "text_2", "latent_image": "encode"}, id=13),
                Box('decode_4', 'WanLiteVAEDecode', "Decode 0.6", {}, {"samples": "sampler_4", "vae": "vae"}, id=18, folded=True),
                Box('save_3', 'SaveImage', "denoise 0.6", {"filename_prefix": "wan-lite/image_to_image_06"}, {"images": "decode_4"}, height=240, id=19),
            ]),
        ],
    ],
    note_title='What denoise does',
    note_size=(450, 630),
    width=260,
)  # fmt: skip

INPAINTING = Plan(
    'student_inpainting',
    """# Only a part of the image

Groups 1 and 2 (nodes that are folded open by a click on their dot) generate an image, so that the workflow needs no file. Put your own there: *Load Image*, whose MASK you draw in the *Mask Editor* (right click), and connect both.

**Where the mask is white, the student generates; where it is black, the image stays.** At every step the black part is put back: the original, noised to that step's level. So inside and outside always carry the same noise, and the seam fits.

| | |
|---|---|
| **denoise** 1 | the white part starts from pure noise: free |
| **denoise** 0.7 | it starts from what was there: related |
| mask | is read in latent cells of **8 x 8 pixels**; finer edges are rounded |

* The level must be the *network's* level, so the sampler does the noising with its own schedule. Another shift in front, and the black part carries another noise than the white: a visible border, grain on one side. The sampler refuses that (**on_mismatch**).
* The image outside of the mask comes back through the VAE, so it is close, not equal. The second result has the untouched original pasted back (*ImageCompositeMasked*): then it **is** equal, to the last bit.
* In the demo the left half keeps its stripes and the right half gets dots: a student without position embedding does not know left from right. The mask does.

The seed noises image *i* with **seed + i**, as in text to image.""",
    [
        [
            Group("The student", [
                Box('model', 'WanLiteStudentLoader', "Student", {"student_name": f"{DEMO}/student_flow.safetensors", "contract_preset": "flow_unipc-20 shift 5"}, id=2),
                Box('vae', 'WanLiteVAELoader', "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, id=3),
            ]),
            Group("An image to start from", [
                Box('text_1', 'WanLiteTextEmbedsLoad', "Its prompt", {"name": f"{DEMO}/captions.safetensors", "captions": "green horizontal stripes"}, id=4, folded=True),
                Box('latent', 'WanLiteEmptyLatent', "Four latents", {"batch_size": 4}, {"model": "model"}, id=5, folded=True),
                Box('sampler_1', 'WanLiteFlowUniPCSampler', "Generate it", {"seed": 7}, {"model": "model", "positive": "text_1", "latent_image": "latent"}, id=6, folded=True),
                Box('decode_1', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler_1", "vae": "vae"}, id=7, folded=True),
            ]),
        ],
        [
            Group("Your image and mask", [
                Box('preview_1', 'PreviewImage', "The images that are changed", {}, {"images": "decode_1"}, height=180, id=8),
                Box('mask_1', 'SolidMask', "Black: stays", {"value": 0.0, "width": 64, "height": 64}, id=9, folded=True),
                Box('mask_2', 'SolidMask', "White: is generated", {"width": 32, "height": 64}, id=10, folded=True),
                Box('masks', 'MaskComposite', "The right half", {"x": 32, "operation": "add"}, {"destination": "mask_1", "source": "mask_2"}, id=11, folded=True),
                Box('mask_image', 'MaskToImage', "Mask as an image", {}, {"mask": "masks"}, id=12, folded=True),
                Box('preview_2', 'PreviewImage', "The mask", {}, {"images": "mask_image"}, height=180, id=13),
            ], is_yours=True),
        ],
        [
            Group("What is generated", [
                Box('encode', 'WanLiteVAEEncode', "Encode", {}, {"image": "decode_1", "vae": "vae"}, id=14),
                Box('masked', 'SetLatentNoiseMask', "Set Latent Noise Mask", {}, {"samples": "encode", "mask": "masks"}, id=15),
                Box('text_2', 'WanLiteTextEmbedsLoad', "The new prompt", {"name": f"{DEMO}/captions.safetensors", "captions": "cyan dots"}, id=16),
            ]),
        ],
        [
            Group("Generate inside the mask", [
                Box('sampler_2', 'WanLiteFlowUniPCSampler', "FlowUniPC inside the mask", {"seed": 107}, {"model": "model", "positive": "text_2", "latent_image": "masked"}, id=17),
                Box('decode_2', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler_2", "vae": "vae"}, id=18, folded=True),
            ]),
        ],
        [
            Group("Images", [
                Box('save_1', 'SaveImage', "As sampled", {"filename_prefix": "wan-lite/inpainting"}, {"images": "decode_2"}, height=250, id=19),
                Box('paste', 'ImageCompositeMasked', "The original outside of the mask", {}, {"destination": "decode_1", "source": "decode_2", "mask": "masks"}, id=20, folded=True),
                Box('save_2', 'SaveImage', "With the original pasted back", {"filename_prefix": "wan-lite/inpainting_pasted"}, {"images": "paste"}, height=250, id=21),
            ]),
        ],
    ],
    note_title='What a mask does',
    note_size=(450, 510),
    width=260,
)  # fmt: skip

VAE_ROUND_TRIP = Plan(
    'vae_round_trip',
    """# Through the VAE and back

A still image is **one** frame. The Wan VAE is a video VAE, but its first frame never looks at another one, so a single image needs only two-dimensional work: same numbers as the official code, in a fraction of the time.

**Group 1** generates images, so that the workflow needs no file. Put your own there (*Load Image*, both sides multiples of 8).

**Group 2** encodes and decodes them. The last images are what the VAE loses: with the full Wan 2.1 VAE nearly nothing. The small demo VAE knows images of 64x64 only; on larger ones it loses more.

**Groups 3 and 4** take larger ones, once whole and once within 64 MB (**tiling** *budget*, **budget_mb**). The layers of the VAE share statistics and attention over the whole image, so cutting it into tiles and blending them gives *another* image. Here it goes through a few rows at a time, and what must be shared is shared. **The difference is black**: the choice of memory does not change the image.

**Group 5** is core's *VAE Decode (Tiled)* with **this** VAE: exact as well, **tile_size** only says how much memory there is. With core's own *Load VAE* the same node decodes tiles on their own and blends their borders: softer seams, other colours from tile to tile.

| tiling | |
|---|---|
| auto | in pieces only where the memory asks for it; the default |
| off | always whole; fails when it does not fit |
| budget | at most **budget_mb** above the weights |

* A batch of *n* images becomes *n* latents of one frame. Core's *VAE Encode* would make **one clip** of them, and blend neighbours in time.
* A LATENT between nodes is raw, not scaled by mean and standard deviation; that is the sampler's business.
* Wan 2.2 **A14B** and the students use the Wan **2.1** VAE (16 channels); only TI2V-5B uses 2.2's (48).""",
    [
        [
            Group("Images", [
                Box('vae', 'WanLiteVAELoader', "Wan 2.1 VAE", {"vae_name": f"{DEMO}/vae.safetensors"}, id=3),
                Box('model', 'WanLiteStudentLoader', "Student", {"student_name": f"{DEMO}/student_flow.safetensors", "contract_preset": "flow_unipc-20 shift 5"}, id=2, folded=True),
                Box('text', 'WanLiteTextEmbedsLoad', "Prompts: image i gets prompt i", {"name": f"{DEMO}/captions.safetensors"}, id=4, folded=True),
                Box('latent', 'WanLiteEmptyLatent', "Four latents", {"batch_size": 4}, {"model": "model"}, id=5, folded=True),
                Box('sampler', 'WanLiteFlowUniPCSampler', "Generate them", {"seed": 7}, {"model": "model", "positive": "text", "latent_image": "latent"}, id=6, folded=True),
                Box('decode_1', 'WanLiteVAEDecode', "Decode", {}, {"samples": "sampler", "vae": "vae"}, id=7, folded=True),
                Box('preview_1', 'PreviewImage', "The images", {}, {"images": "decode_1"}, height=180, id=8),
            ], is_yours=True),
        ],
        [
            Group("There and back", [
                Box('encode_1', 'WanLiteVAEEncode', "Encode: n images, n latents", {}, {"image": "decode_1", "vae": "vae"}, id=9),
                Box('decode_2', 'WanLiteVAEDecode', "Decode", {}, {"samples": "encode_1", "vae": "vae"}, id=10, folded=True),
                Box('save', 'SaveImage', "There and back", {"filename_prefix": "wan-lite/round_trip"}, {"images": "decode_2"}, height=240, id=11),
                Box('difference_1', 'ImageBlend', "What the VAE loses", {"blend_factor": 1.0, "blend_mode": "difference"}, {"image1": "decode_1", "image2": "decode_2"}, id=12, folded=True),
                Box('preview_2', 'PreviewImage', "Lost", {}, {"images": "difference_1"}, height=160, id=13),
            ]),
        ],
        [
            Group("Large, whole", [
                Box('enlarged', 'ImageScale', "Enlarged to 256x256", {"width": 256, "height": 256}, {"image": "decode_1"}, id=14, folded=True),
                Box('encode_2', 'WanLiteVAEEncode', "Encode, whole", {"tiling": "off"}, {"image": "enlarged", "vae": "vae"}, id=15),
                Box('decode_3', 'WanLiteVAEDecode', "Decode, whole", {"tiling": "off"}, {"samples": "encode_2", "vae": "vae"}, id=16),
            ]),
        ],
        [
            Group("Within 64 MB", [
                Box('encode_3', 'WanLiteVAEEncode', "Encode in pieces", {"tiling": "budget", "budget_mb": 64}, {"image": "enlarged", "vae": "vae"}, id=17),
                Box('decode_4', 'WanLiteVAEDecode', "Decode in pieces", {"tiling": "budget", "budget_mb": 64}, {"samples": "encode_3", "vae": "vae"}, id=18),
                Box('difference_2', 'ImageBlend', "Whole against pieces", {"blend_factor": 1.0, "blend_mode": "difference"}, {"image1": "decode_3", "image2": "decode_4"}, id=19, folded=True),
                Box('preview_3', 'PreviewImage', "Difference: black", {}, {"images": "difference_2"}, height=180, id=20),
            ]),
        ],
        [
            Group("Core's tiled node", [
                Box('tiled', 'VAEDecodeTiled', "Core: VAE Decode (Tiled)", {"tile_size": 192, "overlap": 32}, {"samples": "encode_2", "vae": "vae"}, id=21),
                Box('preview_4', 'PreviewImage', "Core's node", {}, {"images": "tiled"}, height=180, id=22),
                Box('difference_3', 'ImageBlend', "Whole against core's tiled node", {"blend_factor": 1.0, "blend_mode": "difference"}, {"image1": "decode_3", "image2": "tiled"}, id=23, folded=True),
                Box('preview_5', 'PreviewImage', "Difference: black", {}, {"images": "difference_3"}, height=180, id=24),
            ]),
        ],
    ],
    note_title='What exact tiling means',
    note_size=(450, 650),
    width=260,
)  # fmt: skip

PLANS = (IMAGE_TO_IMAGE, INPAINTING, VAE_ROUND_TRIP)
