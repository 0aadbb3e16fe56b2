"""Reading workflow files: every format that ComfyUI saves, brought to one resolved graph."""
