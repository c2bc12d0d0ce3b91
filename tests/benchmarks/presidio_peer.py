"""Presidio's own findings for texts on standard input; run by a Python that has presidio-analyzer.

Its recognisers of patterns run, for English and for no country but those it has; a language model
is loaded only where spaCy has one installed. Prints JSON: the recognisers, and spans by text.
"""

import json
import sys
import time

from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine


class _NoModel(NlpEngine):
    """Words at white space: what Presidio needs where no language model is installed."""

    engine_name = "none"

    def load(self):
        """Nothing to load."""

    def is_loaded(self):
        return True

    def process_text(self, text, language):
        words = text.lower().split()
        return NlpArtifacts([], words, [], words, self, language, scores=[])

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
        [(found.start, found.end) for found in analyzer.analyze(text, language="en")]
        for text in texts
    ]
    took = time.perf_counter() - started
    names = sorted(each.name for each in registry.recognizers)
    json.dump({"seconds": took, "recognisers": names, "spans": spans}, sys.stdout)


if __name__ == "__main__":
    main()
