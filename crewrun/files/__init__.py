"""Files that go to a model with a message: images, PDFs, sound, films and texts, as CrewAI's `crewai_files` has them.

`file` is what users write, `source` where the content is, `content_type` what kind it is, and `attachment` makes a part
of a message of it. `folder` says from where paths count, and which ones may not leave it.
"""

from crewrun.files.file import AudioFile, File, ImageFile, PDFFile, TextFile, VideoFile
from crewrun.files.source import FileBytes, FilePath, FileStream, FileUrl

# CrewAI's names for any of them.
BaseFile = FileInput = File

__all__ = [
    "AudioFile",
    "BaseFile",
    "File",
    "FileBytes",
    "FileInput",
    "FilePath",
    "FileStream",
    "FileUrl",
    "ImageFile",
    "PDFFile",
    "TextFile",
    "VideoFile",
]
