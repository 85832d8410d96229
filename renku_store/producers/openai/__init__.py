"""`run: openai/MODEL@VERSION`: text, structured JSON, images and speech from servers that speak OpenAI's protocol."""

from renku_store.producers.openai.handler import OpenAIHandler as OpenAIHandler
