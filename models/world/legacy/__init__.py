"""The first format of TinyWorlds (July 2025). Nothing outside this folder needs it but the loader."""
