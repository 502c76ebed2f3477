"""Models in the box: language models on llama.cpp and sentence embeddings on ONNX Runtime, with no server to set up.

This room knows where weights come from, how an engine is started, fed and stopped, and how its answers read in OpenAI's
protocol. It does not know who asks, what an answer costs, or any other dialect: those are said by translation.

Each language model runs in a child process of its own (`worker`). Loading holds Python's lock for a second and more,
native code may crash, and a generation takes every core it gets; none of that may touch the answers that the server is
relaying for others. The child dies with its parent, and a new one is started when it has died by itself.
"""

from mainspring.providers.local.provider import LocalProvider

__all__ = ["LocalProvider"]
