"""OpenAI's protocol at our door: chat, completions, responses, embeddings, models.

How its errors and its list of models look, and nothing of what happens between question and answer.
"""

from mainspring.web.openai.dialect import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, OpenAIDialect
from mainspring.web.openai.models import models_answer

__all__ = ["CHAT", "COMPLETIONS", "EMBEDDINGS", "RESPONSES", "OpenAIDialect", "models_answer"]
