"""A blueprint that has a bit of everything, and values for it."""

from __future__ import annotations

from typing import Any

FILM = """\
name: film
inputs:
  segments: {type: list, required: true}
  voice: {type: string, default: en-gb}
  music: {type: string}
loops:
  segment: {over: segments}
  image: {over: "segments[segment].images"}
producers:
  script:
    run: command
    argv: [python3, write.py]
    inputs: {voice: voice}
    outputs: {out: {mimeType: application/json}}
  narration:
    for: [segment]
    run: demo/narrate@2
    rateKey: speech
    timeout: 90s
    maxBytes: 1000
    config: {speed: 150, pitch: {low: 1}}
    context: {index: segment, title: plain, deep: [segment]}
    inputs: {text: "segments[segment].text", hint: "script.out.segments[segment].hint", voice: voice, music: music}
    outputs: {audio: {mimeType: audio/wav}}
  picture:
    for: [segment, image]
    when: "segments[segment].images[image].prompt != 'skip'"
    run: python:pictures.make
    version: 3
    inputs: {prompt: "segments[segment].images[image].prompt", audio: "narration[segment].audio"}
    outputs: {image: {mimeType: image/png}}
  collage:
    for: segment
    run: demo/collage
    inputs: {images: "picture[segment][*].image", first: "picture[segment][0].image"}
    outputs: {image: {mimeType: image/png}}
  movie:
    run: demo/assemble@1
    inputs:
      audio: "narration[*].audio"
      images: "picture[*].image"
      firsts: "picture[*][0].image"
      second: "narration[1].audio"
    outputs: {timeline: {mimeType: application/json}, video: {mimeType: video/mp4}}
overrides:
  narration: {config: {speed: 140, voice: {low: 2}}}
  "narration[1]": {config: {pitch: null}}
timeline: movie.timeline
"""


def film_inputs() -> dict[str, Any]:
    """Two segments: one with two images, of which the first is skipped, one with a single image."""
    return {
        "segments": [
            {"text": "One.", "images": [{"prompt": "skip"}, {"prompt": "a cat"}]},
            {"text": "Two.", "images": [{"prompt": "a dog"}]},
        ]
    }
