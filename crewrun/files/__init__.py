"""Files sent to a model with a message: images, PDFs, audio, video and texts, compatible with CrewAI's `crewai_files`.

`file` has the classes that users construct, `source` says where the content is, `content_type` detects its type, and
`attachment` turns it into a message part. `folder` holds the folder that paths are relative to and may not leave.
"""

from crewrun.files.file import AudioFile, File, ImageFile, PDFFile, TextFile, VideoFile
from crewrun.files.source import FileBytes, FilePath, FileStream, FileUrl

# CrewAI's names for a file of any kind.
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
