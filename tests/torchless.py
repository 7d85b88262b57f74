"""Code for a child process that has no torch."""

NO_TORCH = """
import importlib.machinery, sys
class Torchless(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "torch" else super().find_spec(name, path, target)
sys.meta_path = [Torchless if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]
"""
