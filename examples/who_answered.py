"""Which version answers when I ask a model, a pinned version, or an alias?"""

from sklearn.datasets import load_digits

from raymaas import Client
from raymaas.errors import NotFound

row = load_digits().data[:1]

with Client() as client:
    client.alias_set("digits@champion", 1, why="an example")
    for reference in ("digits", "digits@1", "digits@champion"):
        # A move reaches the edge within a second of being committed; until then the client tries again.
        answer = client.model(reference).predict(row)
        print(f"{reference}: version {answer.model_version} says {answer.labels[0]}")

    try:
        client.model("digits@99").predict(row)
    except NotFound as error:
        print(f"digits@99: {type(error).__name__}")

# prints:
# digits: version 1 says 0
# digits@1: version 1 says 0
# digits@champion: version 1 says 0
# digits@99: NotFound
