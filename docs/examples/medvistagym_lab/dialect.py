"""A schema dialect: tools as one kind of consumer expects them. Here as Gemini's function declarations.

medvistagym tools show brightest --format lab_gemini
"""

from medvistagym_core import hookimpl


def gemini(spec):
    """A declaration; Gemini knows no `additionalProperties`."""
    parameters = {key: value for key, value in spec.parameters.items() if key != "additionalProperties"}
    return {"functionDeclarations": [{"name": spec.name, "description": spec.description, "parameters": parameters}]}


@hookimpl
def medvistagym_dialects():
    return {"lab_gemini": gemini}
