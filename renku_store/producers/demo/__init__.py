"""The demo's producers: speech, slides, subtitles, a timeline and the movie, made on this machine without a network."""
