"""Presidio's own findings for texts on standard input; run by a Python that has presidio-analyzer.

All of its own recognisers run that need no language model: so those of patterns, for English.
What it calls DATE_TIME and URL is left out. Prints JSON: the recognisers, the seconds, and the
spans found in each text with their scores.
"""

import json
import sys
import time

import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

#: No personal data in our sense, and in every other text.
LEFT_OUT = ("DATE_TIME", "URL")


class _NoModel(NlpEngine):
    """spaCy's rules for words alone: what Presidio needs where no language model is installed."""

    engine_name = "none"

    def __init__(self):
        self.words = spacy.blank("en")

    def load(self):
        """Nothing to load."""

    def is_loaded(self):
        return True

    def process_text(self, text, language):
        words = self.words(text.lower())
        lemmas = [word.text for word in words]
        places = [word.idx for word in words]
        return NlpArtifacts([], words, places, lemmas, self, language, scores=[])

    def process_batch(self, texts, language, **_options):
        for text in texts:
            yield text, self.process_text(text, language)

    def is_stopword(self, word, language):
        return False

    def is_punct(self, word, language):
        return False

    def get_supported_entities(self):
        return []

    def get_supported_languages(self):
        return ["en"]


def main() -> None:
    texts = json.load(sys.stdin)
    registry = RecognizerRegistry(supported_languages=["en"])
    engine = _NoModel()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=engine)
    registry.recognizers = [
        each for each in registry.recognizers if "spacy" not in each.name.lower()
    ]
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=["en"])
    analyzer.analyze(texts[0], language="en")
    started = time.perf_counter()
    spans = [
        [
            (found.start, found.end, found.score)
            for found in analyzer.analyze(text, language="en")
            if found.entity_type not in LEFT_OUT
        ]
        for text in texts
    ]
    took = time.perf_counter() - started
    names = sorted(each.name for each in registry.recognizers)
    json.dump({"seconds": took, "recognisers": names, "spans": spans}, sys.stdout)


if __name__ == "__main__":
    main()
