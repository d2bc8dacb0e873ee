"""Teams that connect: reference clients and clients of other people, on the real gate."""
