"""What a lying name server can do, one function a lie; `tests.lab.hostile` plays them."""
