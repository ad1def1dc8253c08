"""What compile_tpu.py tells of a training program that was compiled for chips that aren't here."""
