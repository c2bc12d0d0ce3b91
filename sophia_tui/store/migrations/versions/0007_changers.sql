-- Who changed a schedule last; its operation is called as that person, else as its maker.
ALTER TABLE sophia.schedules ADD COLUMN changed_by text;
