class Descriptor:
    name: str
