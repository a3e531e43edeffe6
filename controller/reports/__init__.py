"""From the timeline to what people read: lines, reviews, reports."""
