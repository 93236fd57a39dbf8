"""
How the frames of HTTP/2 are laid out.
"""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import FRAMES, Frame, GoAwayFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame
from twisted.trial.unittest import SynchronousTestCase

from txetcd import _frames as f

KINDS = (
    "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION"
).split()  # fmt: skip

PACKED: list[tuple[bytes, Frame]] = [
    (f.pack(f.PING, f.ACK, 0, b"12345678"), PingFrame(0, b"12345678", flags=["ACK"])),
    (f.pack(f.RST_STREAM, 0, 5, f.pack_word(f.CANCEL)), RstStreamFrame(5, 8)),
    (f.pack(f.WINDOW_UPDATE, 0, 2**31 - 1, f.pack_word(2**31 - 1)), WindowUpdateFrame(2**31 - 1, 2**31 - 1)),
    (f.pack(f.SETTINGS, f.ACK, 0), SettingsFrame(0, flags=["ACK"])),
    (f.pack(f.SETTINGS, 0, 0, f.pack_settings((5, 16_385), (2, 0))), SettingsFrame(0, {5: 16_385, 2: 0})),
    (f.pack(f.GOAWAY, 0, 0, f.pack_word(7) + f.pack_word(11) + b"why"), GoAwayFrame(0, 7, 11, b"why")),
]


class FrameTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        for name in KINDS:
            kind = FRAMES[getattr(f, name)]
            self.assertEqual(name.replace("_", ""), kind.__name__[: -len("Frame")].upper())
            for flag, bit in kind.defined_flags:
                self.assertEqual(bit, getattr(f, "PRIORITIZED" if flag == "PRIORITY" else flag), (name, flag))
        for setting in SettingCodes:
            self.assertEqual(setting, getattr(f, setting.name, setting))

    def test_packed(self) -> None:
        for packed, frame in PACKED:
            self.assertEqual(frame.serialize(), packed)
            word, flags, stream_id = f.unpack_head(packed)
            self.assertEqual(len(packed) - f.HEAD_SIZE, word >> 8)
            self.assertEqual((frame.type, frame.stream_id), (word & 0xFF, stream_id))
            self.assertEqual(f.pack_head(word & 0xFF, flags, stream_id, word >> 8), packed[: f.HEAD_SIZE])

    def test_settings(self) -> None:
        pairs = [(1, 0), (0xFFFF, 2**32 - 1), (1, 7)]
        self.assertEqual(pairs, list(f.unpack_settings(f.pack_settings(*pairs))))
        self.assertEqual(b"", f.pack_settings())

    def test_error_names(self) -> None:
        for error in ErrorCodes:
            self.assertEqual(error.name, f.error_name(error))
        for name in ("NO_ERROR", "PROTOCOL_ERROR", "FLOW_CONTROL_ERROR", "STREAM_CLOSED", "FRAME_SIZE_ERROR"):
            self.assertEqual(name, f.error_name(getattr(f, name)))
        for name in ("REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "ENHANCE_YOUR_CALM"):
            self.assertEqual(name, f.error_name(getattr(f, name)))
        self.assertEqual("error 0xe", f.error_name(14))
        self.assertEqual("error 0xffffffff", f.error_name(2**32 - 1))
