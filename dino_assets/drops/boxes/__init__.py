"""Boxes of a detector that arrive with a drop: COCO, MegaDetector and YOLO files."""
